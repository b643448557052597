"""Input and output paths of `captioner folder`."""

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
"""Finds the photos; each call starts anew."""


def find_inputs(args: argparse.Namespace, shard: "Shard") -> tuple["StrPath", Find, set[str]]:
    """Return the root of all names, a function that finds the photos, and skipped system folders.

    Raises:
        CaptionerError: the folder, archive or list does not exist.
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
        raise CaptionerError("no input: give a folder, or use --list FILE.")
    if folder == "":  # as from an unset "$PHOTOS"
        raise CaptionerError("the folder name is empty; use . for the current folder.")
    root: StrPath = folder if folder and is_remote(folder) else Path(folder or ".")
    _check_root(root)
    if args.watch and is_remote(root):
        raise CaptionerError(
            "--watch needs a local folder; for an object store, run the command again to pick up "
            "new photos."
        )
    if source is None:
        return root, lambda: find_photos(root, chosen), chosen.skipped_folders
    if args.watch:
        raise CaptionerError("--watch needs a folder, not a list.")
    if source != "-":
        _open_list(source).close()  # report a wrong path before anything is written
    elif sys.stdin is None:
        raise CaptionerError("standard input is closed; use --list FILE.")

    def find() -> "Iterator[Found]":
        with closing(_open_list(source)) as file:
            yield from listed_photos(file, root, chosen, end=b"\0" if args.null else b"\n")

    return root, find, chosen.skipped_folders


def _check_root(root: "StrPath") -> None:
    """Check that the root is a folder or a tar archive."""
    from captioner.folder.sources import remote
    from captioner.folder.sources.archives import check_archive
    from captioner.photo.kinds import has_photo_signature

    try:
        mode = 0 if remote.is_remote(root) else os.stat(root).st_mode
        if remote.is_folder(root) if not mode else stat.S_ISDIR(mode):
            return
        if not mode or stat.S_ISREG(mode):
            with remote.open_input(root) as file:
                beginning = file.read(16)
            if has_photo_signature(beginning):
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
        CaptionerError: an output is unsuitable.
        MissingExtraError: a package for a table's format is not installed.
    """
    from captioner.folder.outputs.tables import check_table, is_journal, table_of
    from captioner.folder.sources.remote import is_remote

    if is_remote(root) and (args.sidecar or args.in_place):
        raise CaptionerError(
            f"{root}: --sidecar and --in-place need a local folder; object stores are read-only."
        )
    lines = [path for path in args.output if is_journal(path)]
    tables = [path for path in args.output if not is_journal(path)]
    for table in tables:
        check_table(table, root)
        if args.shard != "1/1" and table.suffix.lower() == ".jsonl":
            raise CaptionerError(
                f"{table}: covers the whole folder; write it with --join when all shards are done."
            )
    if len(lines) > 1:
        raise CaptionerError(f"{lines[1]}: would duplicate {lines[0]}; use one .jsonl output.")
    if lines:
        return [lines[0], *tables]
    named = [path for path in tables if not table_of(path).is_dataset]
    if named:
        return [named[0].with_suffix(".jsonl"), *tables]
    if tables:
        return [tables[0].with_name("captions.jsonl"), *tables]
    if args.folder in (None, "-"):
        raise CaptionerError("a list needs --output FILE.jsonl to say where captions go.")
    if is_remote(root):
        raise CaptionerError(
            f"{root}: captions of an object store go to a local file; use --output FILE.jsonl."
        )
    if os.path.isfile(root):
        return [Path(root).with_suffix(".captions.jsonl")]
    return [Path(root, "captions.jsonl")]
