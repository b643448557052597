"""What a run runs on, in a line."""

import os
import platform
from pathlib import Path

import torch


def describe_machine(device: torch.device) -> str:
    """Name the processor, its cores and the GPU, and the versions that matter to speed."""
    parts = [f"{_processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"]
    if device.type == "cuda":
        parts.append(torch.cuda.get_device_name(device))
    parts.append(f"{platform.system()}, Python {platform.python_version()}")
    parts.append(f"torch {torch.__version__}")
    return ", ".join(parts)


def _processor() -> str:
    """What Linux says; elsewhere, what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
