"""`captioner folder DIR`: a sentence for every photo of a folder."""

import argparse
import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from captioner.cli.folder_options import add_folder_parser
from captioner.cli.options import Subcommands, choose_search
from captioner.config import to_table
from captioner.errors import CaptionerError

if TYPE_CHECKING:
    from captioner.config import SearchConfig
    from captioner.folder.engine import Engine
    from captioner.folder.inputs import Found
    from captioner.folder.job import Engine as AnyEngine
    from captioner.folder.job import Job
    from captioner.folder.journal import Journal
    from captioner.folder.progress import Style
    from captioner.folder.shards import Shard
    from captioner.folder.targets import Target
    from captioner.folder.wording import Wording
    from captioner.header import Header

    Find = Callable[[], Iterator[Found]]

_WATCH_SECONDS = 2.0
"""Between two looks at a folder that is watched."""


def add_parser(commands: Subcommands) -> None:
    """Add the command to the others."""
    add_folder_parser(commands).set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Caption what is found, or tell what would be done."""
    from captioner.folder.job import Job
    from captioner.folder.joining import join_shards
    from captioner.folder.journal import Journal
    from captioner.folder.progress import Progress
    from captioner.folder.shards import Shard
    from captioner.folder.tables import check_table

    shard = Shard.parse(args.shard)
    if args.join and shard.count > 1:
        raise CaptionerError("--join gathers what all shards wrote; leave out --shard.")
    root, find = _inputs(args, shard)
    path, tables = _outputs(args, root)
    path, *tables = map(shard.place, (path, *tables))
    for table in tables:
        check_table(table)
    wording, targets = _texts(args)
    checkpoint, header, search = _model(args)
    settings = {
        "checkpoint": header.name,
        "weights": _identify(checkpoint),
        "search": to_table(search),
        "text": to_table(wording),
        "words": args.words,
        "precision": args.precision,
        "also_in": ", ".join(target.kind for target in targets),
        # Relative, so that a folder can be moved together with its captions.
        "folder": os.path.relpath(os.path.realpath(root), os.path.realpath(path.parent)),
    }
    if shard.count > 1:
        settings["shard"] = str(shard)
    if args.dry_run:
        return _tell(args, path, find, targets)
    load_engine = _choose_engine(args, checkpoint, search)

    style: Style = "json" if args.log == "json" else "quiet" if args.quiet else "text"
    with Journal(path, settings, overwrite=args.overwrite) as journal, Progress(style) as progress:
        if args.join:
            join_shards(journal, settings)
        job = Job(
            journal,
            load_engine,
            wording=wording,
            targets=targets,
            words=args.words,
            retry_failed=args.retry_failed,
            progress=progress,
        )
        try:
            _caption(args, job, find)
        except KeyboardInterrupt:
            progress.end("interrupted")
            _finish(journal, tables)
            if style == "text":
                print(f"captioner: {path}: the same command goes on from here.", file=sys.stderr)
            raise
        progress.end("end")
        _finish(journal, tables)
        if args.gallery:
            _browse(shard.place(args.gallery), path, root, find, header)
    if style == "text":
        print(f"{path}: {progress.tally}")
    return 1 if progress.tally.failed else 0


def _caption(args: argparse.Namespace, job: "Job", find: "Find") -> None:
    from captioner.folder.inputs import count

    again = not args.watch and "-" not in (args.list, args.folder)  # the photos can be found twice
    job.progress.begin(count(find()) if again and job.progress.wants_total else None)
    if args.watch:
        job.watch(find, seconds=_WATCH_SECONDS)
    else:
        job.run(find())


def _finish(journal: "Journal", tables: list[Path]) -> None:
    """Leave everything that is made from the journal as it is now."""
    from captioner.folder.tables import write_failures, write_table

    journal.tidy()
    write_failures(journal)
    for table in tables:
        write_table(table, journal.path)


def _browse(gallery: Path, path: Path, root: Path, find: "Find", header: "Header") -> None:
    from captioner.folder.album import write_album

    write_album(gallery, path, root=root, found=find(), preprocess=header.preprocess)


def _tell(args: argparse.Namespace, path: Path, find: "Find", targets: "list[Target]") -> int:
    """Print what would be done about every photo."""
    from captioner.folder.held import Held, read_held, read_records
    from captioner.folder.joining import newer
    from captioner.folder.plan import plan, remember
    from captioner.folder.shards import find_shards

    held = Held() if args.overwrite else read_held(path)
    if not args.overwrite:
        remember(targets, path)
    for _, part in find_shards(path) if args.join else ():
        for record, _ in read_records(part):
            for found in newer([record], held):
                held.add(found)
        remember(targets, part)
    for step in plan(find(), held, targets=targets, retry_failed=args.retry_failed):
        print("\t".join(filter(None, (step.kind, step.found.name, step.reason))))
    return 0


def _inputs(args: argparse.Namespace, shard: "Shard") -> "tuple[Path, Find]":
    """Return the folder that names are relative to, and what finds the photos."""
    from captioner.folder.inputs import Filter, find_photos, listed_photos

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
    root = Path(folder or ".")
    if not root.exists():
        raise CaptionerError(f"{root}: no such folder; check the path.")
    if source is None:
        return root, lambda: find_photos(root, chosen)
    if args.watch:
        raise CaptionerError("--watch waits for files in a folder, not in a list; give the folder.")
    if source != "-":
        _open_list(source).close()  # a mistake in its name is told before anything is written

    def find() -> "Iterator[Found]":
        with closing(_open_list(source)) as file:
            yield from listed_photos(file, root, chosen, end=b"\0" if args.null else b"\n")

    return root, find


def _open_list(source: str) -> BinaryIO:
    if source == "-":
        return os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    try:
        return Path(source).open("rb")
    except OSError as error:
        raise CaptionerError(f"{source}: the list cannot be read: {error.strerror}.") from error


def _outputs(args: argparse.Namespace, root: Path) -> tuple[Path, list[Path]]:
    """Return the journal, and the tables that are made from it."""
    lines = [path for path in args.output if path.suffix.lower() == ".jsonl"]
    tables = [path for path in args.output if path.suffix.lower() != ".jsonl"]
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


def _texts(args: argparse.Namespace) -> "tuple[Wording, list[Target]]":
    """Return how captions are worded, and where they go beside the journal."""
    from captioner.folder.targets import Target
    from captioner.folder.wording import Wording

    kinds = sorted(set(args.sidecar)) + ["photo"] * args.in_place
    return (
        Wording(prefix=args.prefix, suffix=args.suffix, template=args.template),
        [Target(kind=kind, existing=args.existing, separator=args.separator) for kind in kinds],
    )


def _model(args: argparse.Namespace) -> "tuple[Path, Header, SearchConfig]":
    """Return the checkpoint's file, what it says of itself, and how captions are looked for."""
    from captioner.header import read_header
    from captioner.shipped import DEFAULT, find_checkpoint

    checkpoint = find_checkpoint(args.checkpoint or DEFAULT)
    header = read_header(checkpoint)
    return checkpoint, header, choose_search(header, args)


def _identify(checkpoint: Path) -> str:
    """Digest of the checkpoint's file: names may be used twice."""
    with checkpoint.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _choose_engine(
    args: argparse.Namespace, checkpoint: Path, search: "SearchConfig"
) -> "Callable[[], AnyEngine]":
    """Return what makes the engine: of this process, or of a Ray cluster."""
    load = partial(_load_engine, args, search=search)
    if args.engine == "local":
        return partial(load, checkpoint)

    from captioner.folder.ray_engine import RayEngine

    engine = RayEngine(checkpoint, load, words=args.words, gpus=args.device != "cpu")
    return lambda: engine


def _load_engine(
    args: argparse.Namespace,
    checkpoint: Path,
    search: "SearchConfig",
    *,
    threads: int | None = None,
) -> "Engine":
    """Load the model; `threads` is how many cores there are for it, if not all of them."""
    from captioner.folder.engine import Engine
    from captioner.pipeline import Captioner

    captioner = Captioner.load(checkpoint, device=args.device, precision=args.precision)
    return Engine(
        captioner,
        search=search,
        batch_size=args.batch_size,
        workers=args.workers or min(16, threads or os.cpu_count() or 1),
        words=args.words,
    )
