"""A file system that takes IMG.JPG for img.jpg: a real exFAT image, where one can be mounted."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PROGRAMS = ("mkfs.exfat", "mount.exfat-fuse", "losetup", "umount")


@contextmanager
def exfat(folder: Path) -> Iterator[Path]:
    """Mount an empty exFAT file system below a folder; skip the test where that is not allowed."""
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    image, place = folder / "exfat.image", folder / "exfat"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(64 * 2**20)
    _run("mkfs.exfat", image)
    device = _run("losetup", "--find", "--show", image).strip()
    try:
        _run("mount.exfat-fuse", device, place)
        try:
            yield place
        finally:
            _run("umount", place)
    finally:
        subprocess.run(["losetup", "--detach", device], check=False)


def _run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{command[0]}: {done.stderr.strip()}")
    return done.stdout
