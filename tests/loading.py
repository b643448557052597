"""What loading a checkpoint takes of memory at most, measured in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

tells_peaks = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="Linux tells of its peaks"
)
_MEASURE = """
import sys
import timm  # before memory is measured
from captioner.checkpoint.weights import load_checkpoint

def kilobytes(name):
    with open("/proc/self/status") as file:
        return int(next(line for line in file if line.startswith(name)).split()[1])

load_checkpoint(sys.argv[2])
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the peak begins anew
before = kilobytes("VmRSS")
model, _ = load_checkpoint(sys.argv[1])
read = sum(float(x.sum()) for x in model.parameters())
weights = sum(x.numel() for x in model.parameters()) * 4 / 1024
print((kilobytes("VmHWM") - before) / weights)
"""


def measure_peak(large: Path, small: Path) -> float:
    """Return the peak while `large` loads, in multiples of its weights in float32.

    `small`, of the same kind, is loaded before, so that nothing else takes memory any more.
    """
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(large), str(small)],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout)
