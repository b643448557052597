"""The command with standard streams that are closed or full: real processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.photos import noise
from tests.test_folder import NAMES, captions

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.skipif(
    os.name != "posix" or not Path("/dev/full").exists(), reason="streams as on Linux"
)


def shell(line, checkpoints, folder):
    """Run a line of shell in which `captioner` is the command."""
    command = f'{sys.executable} -m captioner folder "$0" --checkpoint "$1" --precision float32'
    return subprocess.run(
        ["sh", "-c", line.replace("captioner", command, 1), folder, checkpoints["lstm"]],
        capture_output=True, text=True, check=False, timeout=300,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_closed_streams_take_nothing_away_and_get_nothing_into_files(checkpoints, folder):
    done = shell("captioner <&- >&- 2>&-", checkpoints, folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(captions(folder / "captions.jsonl")) == NAMES


def test_a_list_from_a_closed_standard_input_is_refused(checkpoints, folder, tmp_path):
    output = tmp_path / "c.jsonl"
    done = shell(f"captioner --list - --output {output} <&-", checkpoints, folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == ("captioner: standard input is closed; use --list FILE.\n")
    assert not output.exists()


def test_a_full_disk_stops_no_run_under_its_log_and_is_reported_under_its_results(
    checkpoints, folder
):
    (folder / "bad.png").write_bytes(b"")
    done = shell("captioner 2>/dev/full", checkpoints, folder)
    assert done.returncode == 1
    assert "5 photos: 4 captioned, 0 already captioned, 0 skipped, 1 failed" in done.stdout
    done = shell("captioner --quiet --dry-run >/dev/full", checkpoints, folder)
    assert done.returncode == 2
    assert done.stderr == (
        "captioner: standard output cannot be written: No space left on device; make room.\n"
    )


def test_what_pillow_says_of_damaged_metadata_does_not_get_among_events(checkpoints, folder):
    noise(8, 8).save(folder / "exif.jpg", exif=b"Exif\0\0MM\0*\0\0\0\10\0\3")
    done = shell("captioner --log json", checkpoints, folder)
    assert done.returncode == 0
    events = [json.loads(line)["event"] for line in done.stderr.splitlines()]
    assert events == ["begin", "end"]
