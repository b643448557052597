"""Precision of the encoder: 16-bit formats are faster on processors that support them.

Only the encoder, where the time goes: the decoder stays in float32, and so do the probabilities.
Measured on the shipped checkpoints by `benchmarks.precision`.
"""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from captioner.errors import ConfigError
from captioner.runtimes import PRECISIONS

_INSTRUCTIONS = {"avx512_bf16", "amx_bf16"}
"""Names, in Linux, of what multiplies bfloat16 as fast as it should."""


def find_precision(name: str, device: torch.device) -> torch.dtype:
    """Choose what to calculate in on this device.

    Args:
        name: `auto` takes bfloat16 where the processor has instructions for it, on a GPU without
            them float16, and float32 elsewhere; or float32, bfloat16, float16.
        device: where the model is.

    Raises:
        ConfigError: there is no such precision, or not on this device.
    """
    if name not in PRECISIONS["torch"]:
        known = ", ".join(PRECISIONS["torch"])
        raise ConfigError(f"precision is {name!r}; choose from {known} for torch.")
    if name == "float16" and device.type == "cpu":
        raise ConfigError(
            "precision float16 is for GPUs; choose auto, bfloat16 or float32 on a CPU."
        )
    if name != "auto":
        dtype: torch.dtype = getattr(torch, name)
        return dtype
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(False) else torch.float16
    if device.type == "cpu" and _knows_bfloat16():
        return torch.bfloat16
    return torch.float32


def autocast(dtype: torch.dtype, device: torch.device) -> AbstractContextManager[object]:
    """Let a network calculate so; its weights, and what must be exact, stay in float32."""
    if dtype == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def _knows_bfloat16(cpu: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor supports bfloat16 natively; no if unknown.

    PyTorch calculates in bfloat16 on any CPU, but slower than in float32.
    """
    try:
        flags = next(line for line in cpu.read_text().splitlines() if line.startswith("flags"))
    except (OSError, StopIteration):
        return False
    return not _INSTRUCTIONS.isdisjoint(flags.split())
