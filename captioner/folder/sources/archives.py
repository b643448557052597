"""Reads photos from tar archives in place, and recognises archives that must be unpacked."""

import os
import re
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from posixpath import dirname, join, normpath
from typing import BinaryIO

from captioner.folder.sources.remote import StrPath, is_remote, open_input, read

_BLOCK = tarfile.BLOCKSIZE
_PADDING = 1 << 20
"""Zero bytes allowed after the last file; more mean an incomplete download."""
_CRAFTED = (
    tarfile.TarError, ArithmeticError, LookupError, MemoryError, RecursionError, ValueError,
)  # fmt: skip
"""Exceptions that tarfile raises for malformed headers."""
_PACKED = re.compile(
    r"\.(t(gz|bz2?|xz|zst|lz|lzma)|tar\.(gz|bz2|xz|zst|lz[4o]?|lzma|z|br)|zip|7z|rar)$",
    re.IGNORECASE,
)
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_EXTENDED = re.compile(rb"(\d{1,18}) [^=\n]+=")
"""Start of a record in a pax extended header: length in bytes, and keyword."""

_Place = tuple[int, int]
"""Offset and size of a file in an archive, in bytes."""


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The files in a tar archive in order; links are resolved to their targets.

    Among files of the same name the last one counts, as when tar unpacks them.
    """

    files: dict[str, _Place]
    """Offset and size of each file, in bytes."""
    unreadable: dict[str, str]
    """Entries without content, with the reason."""
    replaced: list[str]
    """Names of entries replaced by a later one; a name may occur several times."""
    damage: str | None
    """Why files at the end may be missing; None if the archive is complete."""


@dataclass(frozen=True)
class _Link:
    """A symbolic link, whose target may come later."""

    target: str


@dataclass(frozen=True)
class _Unreadable:
    reason: str


def check_archive(path: StrPath) -> None:
    """Check that a file starts like a tar archive.

    Raises:
        ValueError: the file is compressed, or not a tar archive.
        OSError: the file cannot be read.
    """
    with _open(path):
        pass


def list_archive(path: StrPath) -> Contents:
    """Read the headers of an archive, up to the first damaged one.

    Raises:
        ValueError: the file is compressed, or not a tar archive.
        OSError: the file cannot be read.
    """
    found: dict[str, _Place | _Link | _Unreadable] = {}
    replaced: list[str] = []
    damage = None
    with _open(path) as archive, open_input(path) as file:
        try:
            for member in _members(archive, file, size=file.seek(0, os.SEEK_END)):
                name = _tidy(member.name)
                if member.isdir():
                    continue
                entry = _entry(member, found)
                earlier = found.pop(name, entry)
                if earlier != entry:
                    replaced.append(name)
                found[name] = entry
        except _CRAFTED as error:
            damage = f"damaged tar archive ({error}); download it again"
    files: dict[str, _Place] = {}
    unreadable: dict[str, str] = {}
    for name, entry in found.items():
        target = _resolve(entry, found)
        if isinstance(target, tuple):
            files[name] = target
        else:
            unreadable[name] = target.reason
    return Contents(files=files, unreadable=unreadable, replaced=replaced, damage=damage)


def read_member(path: StrPath, *, offset: int, size: int) -> bytes:
    """Return the content of one file in an archive.

    Raises:
        ValueError: the archive ends inside it.
        OSError: the archive cannot be read.
    """
    if is_remote(path):
        content = read(path, start=offset, end=offset + size)
    else:
        with open(path, "rb", buffering=0) as file:
            file.seek(offset)
            content = file.read(size)
    if len(content) < size:
        raise ValueError("the archive is truncated; download it again")
    return content


def is_packed(name: str) -> bool:
    """Whether a file is named like an archive that must be unpacked first."""
    return bool(_PACKED.search(name))


def refuse_packed(path: StrPath, *, holds: Callable[[str], bool]) -> str | None:
    """Return an error that says how to use such an archive; None if it has no photos.

    Args:
        path: the archive. Only zip archives are opened to check for photos.
        holds: whether a member is a selected photo.
    """
    advice = "unpack it, or skip it with --exclude."
    name = os.path.basename(path).lower()
    if not name.endswith(".zip"):
        kind = "decompress it to a .tar" if ".t" in name else "unpack it"
        return f"compressed archive; {kind}, or skip it with --exclude."
    try:
        with open_input(path) as file, zipfile.ZipFile(file) as archive:
            count = sum(map(holds, archive.namelist()))
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        return f"damaged zip archive ({error}); download it again, then {advice}"
    plural = "" if count == 1 else "s"
    return f"zip archive with {count} photo{plural}; {advice}" if count else None


@contextmanager
def _open(path: StrPath) -> Iterator[tarfile.TarFile]:
    if not is_remote(path) and not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would block
        raise ValueError("not a regular file; save it as a file")
    with open_input(path) as file, _read_headers(file) as archive:
        yield archive


def _read_headers(file: BinaryIO) -> tarfile.TarFile:
    head = file.read(6)
    file.seek(0)
    if head.startswith(b"PK"):
        raise ValueError("zip archive; unpack it")
    for mark, kind in _COMPRESSED.items():
        if head.startswith(mark):
            raise ValueError(f"compressed with {kind}; decompress it to a .tar")
    try:
        return tarfile.open(fileobj=file, mode="r:")
    except _CRAFTED as error:
        raise ValueError(
            f"not an uncompressed tar archive ({error}); decompress it, or download it again"
        ) from error


def _members(archive: tarfile.TarFile, file: BinaryIO, *, size: int) -> Iterator[tarfile.TarInfo]:
    """Yield the members of an archive, and of archives concatenated to it with `cat`.

    tarfile alone would take a damaged header, or a premature end of file, for the archive's end.

    Args:
        archive: open, at its start.
        file: the same file.
        size: size of the file in bytes.

    Raises:
        tarfile.TarError, or another of `_CRAFTED`: the archive is damaged.
    """
    start = 0  # tarfile has already read the first member
    while True:
        member = archive.next()
        archive.members = []  # type: ignore[attr-defined]  # keeps memory constant
        if member is not None:
            if archive.offset <= start:
                raise tarfile.ReadError(f"{member.name} has an invalid size")
            if member.offset_data - start > _BLOCK:
                _check_extended(file, start, member.offset_data)
            yield member
            if archive.offset > size:
                raise tarfile.ReadError(f"it ends inside {member.name}")
            start = archive.offset
            continue
        after = _skip_zeros(file, archive.offset)
        if after == archive.offset:
            raise tarfile.ReadError(
                "the end-of-archive marker is missing"
                if after >= size
                else "it ends in the middle of a header"
                if size - after < _BLOCK
                else f"there is no header at byte {after}"
            )
        if after - archive.offset > _PADDING:
            raise tarfile.ReadError(f"only zeros from byte {archive.offset} on")
        if after >= size:
            return
        start = archive.offset = after
        archive.pax_headers = {}


def _skip_zeros(file: BinaryIO, offset: int) -> int:
    """Return the offset of the first non-zero block; the file's size if there is none."""
    file.seek(offset)
    while block := file.read(1 << 16):
        zeros = len(block) - len(block.lstrip(b"\0"))
        if zeros < len(block):
            return offset + zeros // _BLOCK * _BLOCK
        offset += len(block)
    return offset


def _check_extended(file: BinaryIO, start: int, end: int) -> None:
    """Check the pax extended headers of a file, which no checksum covers.

    Raises:
        tarfile.ReadError: a header is damaged.
    """
    while start < end:
        file.seek(start)
        header = tarfile.TarInfo.frombuf(file.read(_BLOCK), "utf-8", "surrogateescape")
        if header.type in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE):
            text, place = file.read(header.size), 0
            while place < header.size:
                entry = _EXTENDED.match(text, place)
                last = place + int(entry[1]) - 1 if entry else -1
                if last < place or text[last : last + 1] != b"\n":
                    raise tarfile.ReadError(f"the extended header at byte {start} is damaged")
                place = last + 1
        elif header.type not in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
            return
        start += _BLOCK + -(-header.size // _BLOCK) * _BLOCK


def _entry(
    member: tarfile.TarInfo, found: "dict[str, _Place | _Link | _Unreadable]"
) -> "_Place | _Link | _Unreadable":
    if member.issparse():
        return _Unreadable("sparse file; unpack the archive, or recreate it without --sparse.")
    if member.isreg():
        return member.offset_data, member.size
    if member.issym():
        return _Link(join(dirname(_tidy(member.name)), member.linkname))
    if member.islnk():
        return found.get(_tidy(member.linkname)) or _astray(member.linkname)
    return _Unreadable("not a regular file; unpack the archive.")


def _resolve(
    entry: "_Place | _Link | _Unreadable", found: "dict[str, _Place | _Link | _Unreadable]"
) -> "_Place | _Unreadable":
    """Follow symbolic links, stopping at cycles."""
    seen = set()
    while isinstance(entry, _Link):
        name = normpath(entry.target)
        if name in seen or name not in found:
            return _astray(name)
        seen.add(name)
        entry = found[name]
    return entry


def _astray(target: str) -> _Unreadable:
    return _Unreadable(f"link to {target}, which is not in the archive; unpack the archive there.")


def _tidy(name: str) -> str:
    return name.removeprefix("./")
