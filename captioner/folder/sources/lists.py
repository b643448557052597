"""Reads lists of paths, as people and programs write them."""

import os
import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from typing import BinaryIO
from urllib.parse import urlsplit
from urllib.request import url2pathname

from captioner.errors import CaptionerError

_QUOTED = re.compile(r"""(["'])(.+)\1""", re.DOTALL)


def read_list(file: BinaryIO, root: str | os.PathLike[str], *, end: bytes) -> Iterator[str]:
    """Yield the paths on a list, without empty ones.

    Quotes around a path and a leading `file://` are removed, unless a file of that exact name
    exists.

    Args:
        file: the list; names need not be valid UTF-8.
        root: folder that relative paths are relative to.
        end: terminator of each path: a newline or a NUL byte.

    Raises:
        CaptionerError: paths end with the other terminator.
    """
    for number, line in enumerate(_split(file, end)):
        if b"\0" in line:
            raise CaptionerError(
                "the list contains NUL bytes; if each path ends with one, as from `find -print0`, "
                "use --null; otherwise save the list as UTF-8."
            )
        if number == 0:  # some editors write a byte order mark
            line = line.removeprefix(BOM_UTF8)  # noqa: PLW2901
        name = os.fsdecode(line.rstrip(b"\r") if end == b"\n" else line)
        if name:
            yield _plain(name, root) if name[0] in "\"'fF" else name


def is_comment(name: str, root: str | os.PathLike[str]) -> bool:
    """Whether a line starts like a comment, and no file has that name."""
    return name.startswith("#") and not os.path.lexists(os.path.join(root, name))


def _plain(name: str, root: str | os.PathLike[str]) -> str:
    """Remove quotes or `file://` from a path."""
    if os.path.lexists(os.path.join(root, name)):
        return name
    if quoted := _QUOTED.fullmatch(name):
        return quoted[2]
    if name[:7].lower() == "file://":
        return url2pathname(urlsplit(name.replace("#", "%23").replace("?", "%3F")).path) or name
    return name


def _split(file: BinaryIO, end: bytes) -> Iterator[bytes]:
    """Split a stream at `end` without reading all of it."""
    rest = b""
    while block := file.readline() if end == b"\n" else file.read(1 << 16):
        *whole, rest = (rest + block).split(end)
        yield from whole
    if rest:
        yield rest
