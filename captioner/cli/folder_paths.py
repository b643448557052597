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
    from captioner.folder.sources.remote import StrPath
    from captioner.folder.sources.shards import Shard

Find: TypeAlias = Callable[[], "Iterator[Found]"]
"""Finds the photos, from the beginning each time."""


def find_inputs(args: argparse.Namespace, shard: "Shard") -> tuple["StrPath", Find, set[str]]:
    """Return the root that names are relative to, what finds the photos, and what it passes over.

    Raises:
        CaptionerError: there is no such folder, archive or list.
    """
    from captioner.folder.sources.filters import Filter
    from captioner.folder.sources.inputs import find_photos, listed_photos
    from captioner.folder.sources.remote import is_remote

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
    root: StrPath = folder if folder and is_remote(folder) else Path(folder or ".")
    _check_root(root)
    if args.watch and is_remote(root):
        raise CaptionerError(
            "--watch waits for files in a folder of this machine; run the command again for what "
            "came into a store."
        )
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


def _check_root(root: "StrPath") -> None:
    """Make sure that there is such a folder, or a tar archive in its place."""
    from captioner.folder.sources import remote
    from captioner.folder.sources.archives import check_archive
    from captioner.photo.kinds import begins_like_a_photo

    try:
        mode = 0 if remote.is_remote(root) else os.stat(root).st_mode
        if remote.is_folder(root) if not mode else stat.S_ISDIR(mode):
            return
        if not mode or stat.S_ISREG(mode):
            with remote.open_input(root) as file:
                beginning = file.read(16)
            if begins_like_a_photo(beginning):
                raise CaptionerError(
                    f"{root}: a photo, not a folder; `captioner caption` captions single photos."
                )
        check_archive(root)
    except ValueError as error:
        raise CaptionerError(f"{root}: neither a folder nor a tar archive: {error}.") from error
    except (FileNotFoundError, NotADirectoryError) as error:
        why = error.strerror if remote.is_remote(root) else "no such folder; check the path"
        raise CaptionerError(f"{root}: {why}.") from None
    except OSError as error:
        raise CaptionerError(f"{root}: cannot be read: {error.strerror}.") from error


def _open_list(source: str) -> BinaryIO:
    if source == "-":
        return os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    try:
        return Path(source).open("rb")
    except OSError as error:
        raise CaptionerError(f"{source}: the list cannot be read: {error.strerror}.") from error


def find_outputs(args: argparse.Namespace, root: "StrPath") -> list[Path]:
    """Return the journal, then the tables that are made from it.

    Raises:
        CaptionerError: they cannot be what is meant.
        MissingExtraError: what writes a table is not installed.
    """
    from captioner.folder.outputs.tables import TABLES, check_table, is_journal
    from captioner.folder.sources.remote import is_remote

    if is_remote(root) and (args.sidecar or args.in_place):
        raise CaptionerError(
            f"{root}: --sidecar and --in-place write to folders of this machine, and read stores "
            "only; leave them out."
        )
    lines = [path for path in args.output if is_journal(path)]
    tables = [path for path in args.output if not is_journal(path)]
    for table in tables:
        check_table(table, root)
        if args.shard != "1/1" and table.suffix.lower() == ".jsonl":
            raise CaptionerError(
                f"{table}: is one file for the whole folder; give it with --join, when all shards "
                "are done."
            )
    if len(lines) > 1:
        raise CaptionerError(f"{lines[1]}: it would hold what {lines[0]} holds; give only one.")
    if lines:
        return [lines[0], *tables]
    named = [path for path in tables if path.suffix.lower() in TABLES]
    if named:
        return [named[0].with_suffix(".jsonl"), *tables]
    if tables:
        return [tables[0].with_name("captions.jsonl"), *tables]
    if args.folder in (None, "-"):
        raise CaptionerError("a list has no folder to put captions in; give --output FILE.jsonl.")
    if is_remote(root):
        raise CaptionerError(
            f"{root}: a store can neither append nor lock, so captions go to a file of this "
            "machine; give --output FILE.jsonl."
        )
    if os.path.isfile(root):
        return [Path(root).with_suffix(".captions.jsonl")]
    return [Path(root, "captions.jsonl")]
