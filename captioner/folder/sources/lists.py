"""Lists of photos, as people and programs write them."""

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
    """Yield the paths of a list, each ended by `end`; empty ones are passed over.

    Quotes around a path and `file://` before it are taken away, unless there is a file of that very
    name.

    Args:
        file: the list; a name that is no text comes through unchanged.
        root: the folder that relative paths are relative to.
        end: the byte after each path: a line feed, or zero where names may hold line feeds.

    Raises:
        CaptionerError: paths end with another byte than `end`.
    """
    for number, line in enumerate(_split(file, end)):
        if b"\0" in line:
            raise CaptionerError(
                "the list holds zero bytes, so it is no text; where each path ends with one, as "
                "after `find -print0`, give --null, or else save the list as UTF-8."
            )
        if number == 0:  # some editors begin a text with a mark
            line = line.removeprefix(BOM_UTF8)  # noqa: PLW2901
        name = os.fsdecode(line.rstrip(b"\r") if end == b"\n" else line)
        if name:
            yield _plain(name, root) if name[0] in "\"'fF" else name


def is_comment(name: str, root: str | os.PathLike[str]) -> bool:
    """Whether a line of a list begins as a comment, and no file is called so."""
    return name.startswith("#") and not os.path.lexists(os.path.join(root, name))


def _plain(name: str, root: str | os.PathLike[str]) -> str:
    """Take away what was written around a path."""
    if os.path.lexists(os.path.join(root, name)):
        return name
    if quoted := _QUOTED.fullmatch(name):
        return quoted[2]
    if name[:7].lower() == "file://":
        return url2pathname(urlsplit(name.replace("#", "%23").replace("?", "%3F")).path) or name
    return name


def _split(file: BinaryIO, end: bytes) -> Iterator[bytes]:
    """Yield the parts between `end`s, without holding the whole list."""
    rest = b""
    while block := file.readline() if end == b"\n" else file.read(1 << 16):
        *whole, rest = (rest + block).split(end)
        yield from whole
    if rest:
        yield rest
