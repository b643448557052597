"""Number format of the encoder: 16-bit formats are faster on processors that support them.

Only the encoder uses them, which takes most of the time: decoder and probabilities stay in float32.
Measured on the shipped checkpoints by `benchmarks.precision`.
"""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from captioner.errors import ConfigError
from captioner.runtimes import PRECISIONS

_INSTRUCTIONS = {"avx512_bf16", "amx_bf16"}
"""CPU flags in Linux of fast bfloat16 products."""


def find_precision(name: str, device: torch.device) -> torch.dtype:
    """Choose the number format for a device.

    Args:
        name: float32, bfloat16 or float16; `auto` takes bfloat16 where the processor supports it,
            float16 on other GPUs, and float32 elsewhere.
        device: device of the model.

    Raises:
        ConfigError: there is no such format, or not on this device.
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
    """Return a context that runs a network in this format; weights stay in float32."""
    if dtype == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def _knows_bfloat16(cpu: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor supports bfloat16 natively; False if unknown.

    PyTorch emulates bfloat16 on other CPUs, slower than float32.
    """
    try:
        flags = next(line for line in cpu.read_text().splitlines() if line.startswith("flags"))
    except (OSError, StopIteration):
        return False
    return not _INSTRUCTIONS.isdisjoint(flags.split())
