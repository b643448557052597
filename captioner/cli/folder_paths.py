"""Which photos `captioner folder` is about, and which files it writes."""

import argparse
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from captioner.errors import CaptionerError

if TYPE_CHECKING:
    from captioner.folder.sources.inputs import Found
    from captioner.folder.sources.shards import Shard

Find: TypeAlias = Callable[[], "Iterator[Found]"]
"""Finds the photos, from the beginning each time."""


def find_inputs(args: argparse.Namespace, shard: "Shard") -> tuple[Path, Find, set[str]]:
    """Return the folder that names are relative to, what finds the photos, and what it passes over.

    Raises:
        CaptionerError: there is no such folder, archive or list.
    """
    from captioner.folder.sources.filters import Filter
    from captioner.folder.sources.inputs import find_photos, listed_photos

    chosen = Filter(
        include=tuple(args.include),
        exclude=tuple(args.exclude),
        hidden=args.hidden,
        shard=shard,
    )
    folder, source = args.folder, args.list
    if folder == "-":
        folder, source = None, "-"
    if folder is None and source is None:
        raise CaptionerError("no photos are named: give a folder, or --list FILE.")
    if folder == "":  # as of "$PHOTOS" where there is no such variable
        raise CaptionerError("the folder's name is empty; give . for the folder you are in.")
    root = Path(folder or ".")
    _check_root(root)
    if source is None:
        return root, lambda: find_photos(root, chosen), chosen.passed_over
    if args.watch:
        raise CaptionerError("--watch waits for files in a folder, not in a list; give the folder.")
    if source != "-":
        _open_list(source).close()  # a mistake in its name is told before anything is written
    elif sys.stdin is None:
        raise CaptionerError("standard input is closed; give the list with --list FILE.")

    def find() -> "Iterator[Found]":
        with closing(_open_list(source)) as file:
            yield from listed_photos(file, root, chosen, end=b"\0" if args.null else b"\n")

    return root, find, chosen.passed_over


def _check_root(root: Path) -> None:
    """Make sure that there is such a folder, or a tar archive in its place."""
    from captioner.folder.sources.archives import check_archive
    from captioner.photo.kinds import begins_like_a_photo

    try:
        mode = root.stat().st_mode
        if stat.S_ISDIR(mode):
            return
        if stat.S_ISREG(mode):
            with root.open("rb") as file:
                beginning = file.read(16)
            if begins_like_a_photo(beginning):
                raise CaptionerError(
                    f"{root}: a photo, not a folder; `captioner caption` captions single photos."
                )
        check_archive(root)
    except ValueError as error:
        raise CaptionerError(f"{root}: neither a folder nor a tar archive: {error}.") from error
    except (FileNotFoundError, NotADirectoryError):
        raise CaptionerError(f"{root}: no such folder; check the path.") from None
    except OSError as error:
        raise CaptionerError(f"{root}: cannot be read: {error.strerror}.") from error


def _open_list(source: str) -> BinaryIO:
    if source == "-":
        return os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    try:
        return Path(source).open("rb")
    except OSError as error:
        raise CaptionerError(f"{source}: the list cannot be read: {error.strerror}.") from error


def find_outputs(args: argparse.Namespace, root: Path) -> tuple[Path, list[Path]]:
    """Return the journal, and the tables that are made from it.

    Raises:
        CaptionerError: they cannot be what is meant.
        MissingExtraError: what writes a table is not installed.
    """
    from captioner.folder.outputs.tables import check_table

    lines = [path for path in args.output if path.suffix.lower() == ".jsonl"]
    tables = [path for path in args.output if path.suffix.lower() != ".jsonl"]
    for table in tables:
        check_table(table)
    if len(lines) > 1:
        raise CaptionerError(f"{lines[1]}: it would hold what {lines[0]} holds; give only one.")
    if lines:
        return lines[0], tables
    if tables:
        return tables[0].with_suffix(".jsonl"), tables
    if args.folder in (None, "-"):
        raise CaptionerError("a list has no folder to put captions in; give --output FILE.jsonl.")
    if root.is_file():
        return root.with_suffix(".captions.jsonl"), tables
    return root / "captions.jsonl", tables
