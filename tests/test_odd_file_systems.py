"""Folders on file systems that know no owner, no mode, no times, or no fsync of folders."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.photos import noise
from tests.test_folder import ROOT, captions
from tests.written import read_caption, read_sidecar

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="refusals are played on Linux only"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler"),
]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The file system's double, compiled."""
    built = tmp_path_factory.mktemp("refusing") / "refusing.so"
    source = Path(__file__).with_name("refusing.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", built, source, "-ldl"], check=True)
    return built


@pytest.fixture
def share(tmp_path):
    folder = tmp_path / "share"
    folder.mkdir()
    for name in ("a.jpg", "b.png"):
        noise(40, 60).save(folder / name)
        os.utime(folder / name, (10**9, 10**9))
    return folder


def run(library, checkpoints, share, refused, *arguments):
    """Run the command in a process of its own, with these calls refused in the folder."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "LD_PRELOAD": str(library),
        "REFUSED": ",".join(f"{call}={code}" for call, code in refused.items()),
        "REFUSED_IN": str(share),
    }
    command = [sys.executable, "-m", "captioner", "folder", share, *arguments]
    command += ["--in-place", "--sidecar", "xmp", "--sidecar", "txt"]
    command += ["--checkpoint", str(checkpoints["lstm"]), "--precision", "float32"]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.parametrize(
    "refused",
    [
        {"fsync-folder": errno.EINVAL},
        {"fsync-folder": errno.ENOTSUP},
        {"chown": errno.EINVAL, "chmod": errno.EPERM, "utimensat": errno.EPERM},
        {"chown": errno.EPERM, "chmod": errno.ENOTSUP, "utimensat": errno.EINVAL},
        {"chown": errno.ENOTSUP, "chmod": errno.EINVAL, "utimensat": errno.ENOSYS},
    ],
)
def test_what_a_file_system_cannot_do_fails_no_photo(library, checkpoints, share, refused):
    done = run(library, checkpoints, share, refused)
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 photos: 2 captioned, 0 already captioned, 0 skipped, 0 failed" in done.stdout
    for name, caption in captions(share / "captions.jsonl").items():
        photo = share / name
        assert read_caption(photo.read_bytes(), name=name) == caption
        assert read_sidecar((share / f"{name}.xmp").read_bytes(), name=name) == caption
        assert photo.with_suffix(".txt").read_text() == caption + "\n"
        assert (photo.stat().st_mtime == 10**9) is ("utimensat" not in refused)
    assert not [path.name for path in share.iterdir() if path.name.startswith(".")]


def test_a_disk_that_loses_what_is_written_stops_the_run(library, checkpoints, share, tmp_path):
    before = {path: path.read_bytes() for path in share.iterdir()}
    output = tmp_path / "local.jsonl"
    done = run(library, checkpoints, share, {"fsync-file": errno.EIO}, "--output", output)
    assert done.returncode == 2
    assert f"cannot be written: {os.strerror(errno.EIO)}" in done.stderr
    assert {path: path.read_bytes() for path in share.iterdir()} == before
    done = run(library, checkpoints, share, {}, "--output", output)
    assert (done.returncode, len(captions(output))) == (0, 2)
