"""Files replaced as a whole, on file systems of every kind."""

import errno
import hashlib
import os
from pathlib import Path

import pytest

from captioner.durable import (
    TEMPORARY,
    check_writable,
    edit_file,
    file_digest,
    replace_file,
    replacing,
    sync_folder,
)
from captioner.errors import CaptionerError


def refused(code):
    """A system call that fails in this way."""

    def call(*_arguments, **_options):
        raise OSError(code, os.strerror(code))

    return call


def test_an_edited_file_keeps_its_mode_and_if_asked_its_times(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"old")
    path.chmod(0o640)
    os.utime(path, ns=(9 * 10**17 + 1, 10**18 + 5))
    edit_file(path, b"new", keep_times=True)
    status = path.stat()
    assert (status.st_atime_ns, status.st_mtime_ns) == (9 * 10**17 + 1, 10**18 + 5)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o640)
    edit_file(path, b"newer")
    assert path.stat().st_mtime > 10**9
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"newer", 0o640)
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_nobody_may_write_keeps_its_mode(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"old")
    path.chmod(0o444)
    edit_file(path, b"new")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o444)
    replace_file(path, b"newer")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"newer", 0o444)


def test_a_new_file_gets_the_mode_any_file_gets(tmp_path):
    (tmp_path / "usual").write_bytes(b"")
    edit_file(tmp_path / ("x" * 255), b"new")
    assert (tmp_path / ("x" * 255)).stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="no extended attributes here")
def test_extended_attributes_stay(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"old")
    try:
        os.setxattr(path, "user.tag", b"red")
    except OSError as error:
        pytest.skip(f"no extended attributes in {tmp_path}: {error}")
    edit_file(path, b"new")
    assert os.getxattr(path, "user.tag") == b"red"


@pytest.mark.parametrize("write", [edit_file, replace_file])
def test_a_link_stays_a_link_to_the_new_content(tmp_path, write):
    (tmp_path / "there").mkdir()
    photo = tmp_path / "there" / "photo.jpg"
    photo.write_bytes(b"old")
    link = tmp_path / "link.jpg"
    link.symlink_to(photo)
    write(link, b"new")
    assert link.is_symlink()
    assert photo.read_bytes() == b"new"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("write", [edit_file, replace_file])
def test_when_the_disk_is_full_or_damaged_the_old_file_and_nothing_else_is_there(
    tmp_path, monkeypatch, code, write
):
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", refused(code))
    with pytest.raises(OSError, match=os.strerror(code)):
        write(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
@pytest.mark.parametrize("write", [edit_file, replace_file])
def test_a_file_system_without_fsync_is_trusted(tmp_path, monkeypatch, code, write):
    monkeypatch.setattr(os, "fsync", refused(code))
    write(tmp_path / "photo.jpg", b"new")
    sync_folder(tmp_path)
    assert (tmp_path / "photo.jpg").read_bytes() == b"new"


def test_a_disk_that_fails_once_the_file_is_edited_changes_nothing_about_that(
    tmp_path, monkeypatch
):
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"old")
    monkeypatch.setattr("captioner.durable.sync_folder", refused(errno.EIO))
    edit_file(path, b"new")
    assert path.read_bytes() == b"new"
    monkeypatch.undo()
    monkeypatch.setattr(os, "fsync", refused(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):  # where it matters it is told
        sync_folder(tmp_path)


@pytest.mark.parametrize("call", ["chown", "chmod", "utime", "setxattr", "listxattr"])
@pytest.mark.parametrize("code", [errno.EPERM, errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_owner_mode_and_times_that_may_not_be_set_are_let_be(tmp_path, monkeypatch, call, code):
    if not hasattr(os, call):
        pytest.skip(f"no {call} here")
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"old")
    path.chmod(0o604)
    os.utime(path, (10**9, 10**9))
    monkeypatch.setattr(os, call, refused(code))
    edit_file(path, b"new", keep_times=True)
    replace_file(tmp_path / "journal", b"line")
    replace_file(tmp_path / "journal", b"lines")
    monkeypatch.undo()
    assert (path.read_bytes(), (tmp_path / "journal").read_bytes()) == (b"new", b"lines")
    status = path.stat()
    assert (status.st_mode & 0o777 == 0o604) is (call != "chmod"), "one refusal costs no other"
    assert (status.st_mtime == 10**9) is (call != "utime")


def test_what_a_killed_writer_leaves_is_recognised(tmp_path):
    path = tmp_path / "photo.jpg"
    names = []
    for content in (b"half", b"whole"):
        with replacing(path) as unfinished:
            names.append(unfinished.name)
            unfinished.write_bytes(content)
    assert len({*names}) == 1, "the next run finds it"
    seen = []

    def watch(old, new):
        seen.append((new, old))
        rename(old, new)

    rename, os.replace = os.replace, watch
    try:
        edit_file(path, b"new")
        edit_file(path, b"newer")
    finally:
        os.replace = rename
    names = [temporary for _, temporary in seen]
    assert len({*names}) == 2
    assert all(name.match(TEMPORARY) for name in names)
    assert os.listdir(tmp_path) == ["photo.jpg"]


def test_a_digest_is_that_of_the_bytes(tmp_path):
    file = tmp_path / "weights"
    file.write_bytes(b"a" * 100_000)
    assert file_digest(file) == hashlib.sha256(b"a" * 100_000).hexdigest()


@pytest.mark.parametrize(
    ("name", "folder", "reason"),
    [
        ("file/new", False, "Not a directory"),
        ("file/new/deeper", True, "Not a directory"),
        ("file", True, "Not a directory"),
        (".", False, "Is a directory"),
        (f"{'n' * 300}/new", False, "File name too long"),
    ],
)
def test_what_cannot_be_written_is_told_before_there_is_content(tmp_path, name, folder, reason):
    (tmp_path / "file").write_text("kept")
    path = tmp_path / name
    with pytest.raises(CaptionerError) as caught:
        check_writable(path, folder=folder, option="--output")
    assert str(caught.value) == f"{path}: cannot be written: {reason}; check the path."
    assert (tmp_path / "file").read_text() == "kept"


def test_a_file_system_that_cannot_be_written_is_told_with_a_way_out(tmp_path):
    with pytest.raises(CaptionerError, match=r"cannot be written: .*; "):
        check_writable(Path("/proc/nothing/report.json"), option="--json")


@pytest.mark.parametrize(("name", "folder"), [("file", False), ("a/b", False), ("a", True)])
def test_a_check_changes_nothing(tmp_path, name, folder):
    (tmp_path / "file").write_text("kept")
    check_writable(tmp_path / name, folder=folder)
    check_writable(Path("/dev/null"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "kept"
