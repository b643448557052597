"""`captioner folder DIR`: a sentence for every photo of a folder."""

import argparse
import hashlib
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from captioner.cli.folder_options import add_folder_parser, check_together
from captioner.cli.options import Subcommands, choose_search, find_models
from captioner.cli.stopping import Stopped, stopping_gently
from captioner.config import to_table
from captioner.errors import CaptionerError

if TYPE_CHECKING:
    from captioner.config import SearchConfig
    from captioner.folder.engine import Engine
    from captioner.folder.inputs import Found
    from captioner.folder.job import Engine as AnyEngine
    from captioner.folder.job import Job
    from captioner.folder.progress import Style
    from captioner.folder.shards import Shard
    from captioner.folder.targets import Target
    from captioner.folder.wording import Wording

    Find = Callable[[], Iterator[Found]]

_WATCH_SECONDS = 2.0
"""Between two looks at a folder that is watched."""


def add_parser(commands: Subcommands) -> None:
    """Add the command to the others."""
    add_folder_parser(commands).set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Caption what is found, or tell what would be done."""
    from captioner.folder.progress import Progress

    try:
        with stopping_gently():
            return _run(args)
    except Stopped as stopped:
        return stopped.status
    except CaptionerError as error:
        if args.log != "json":
            raise
        Progress("json").error(str(error))
        return 2


def _run(args: argparse.Namespace) -> int:
    from captioner.folder.job import Job
    from captioner.folder.joining import join_shards
    from captioner.folder.journal import Journal
    from captioner.folder.progress import Progress
    from captioner.folder.results import Results
    from captioner.folder.shards import Shard

    check_together(args)
    shard = Shard.parse(args.shard)
    root, find = _inputs(args, shard)
    path, tables = _outputs(args, root)
    path, *tables = map(shard.place, (path, *tables))
    wording, targets = _texts(args)
    checkpoints, header = find_models(args)
    search = choose_search(header, args)
    settings = {
        "checkpoint": header.name,
        "weights": ", ".join(map(_identify, checkpoints)),
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
    load_engine = _choose_engine(args, checkpoints, search)

    style: Style = "json" if args.log == "json" else "quiet" if args.quiet else "text"
    gallery = shard.place(args.gallery) if args.gallery else None
    results = Results(tables=tables, gallery=gallery, root=root, preprocess=header.preprocess)
    results.prepare()
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
        over = False
        try:
            _caption(args, job, find)
            over = True
            journal.tidy()
            results.write(journal, job.problems, whole=True)
        except KeyboardInterrupt:
            progress.end("interrupted")
            if style == "text":
                _tell_interrupted(args, job)
            if not over:  # watching has no other end
                journal.tidy(compact=args.watch)
                results.write(journal, job.problems, whole=args.watch)
            raise
        progress.end("end")
    if style == "text":
        if not progress.tally.total:
            print(f"captioner: {_nothing(args, root)}", file=sys.stderr)
        print(f"{', '.join(map(str, (path, *tables)))}: {progress.tally}")
        if gallery:
            print(f"{gallery / 'index.html'}: open it in a browser")
    return 1 if progress.tally.failed else 0


def _caption(args: argparse.Namespace, job: "Job", find: "Find") -> None:
    from captioner.folder.inputs import count

    again = not args.watch and "-" not in (args.list, args.folder)  # the photos can be found twice
    job.progress.begin(count(find()) if again and job.progress.wants_total else None)
    if args.watch:
        job.watch(find, seconds=_WATCH_SECONDS)
    else:
        job.run(find())


def _tell_interrupted(args: argparse.Namespace, job: "Job") -> None:
    """Say how far the run came, and how to go on."""
    again = "the same command without --overwrite" if args.overwrite else "the same command"
    print(
        f"captioner: {job.journal.path}: interrupted after {job.progress.tally}; {again} goes on "
        "from here.",
        file=sys.stderr,
        flush=True,
    )


def _nothing(args: argparse.Namespace, root: Path) -> str:
    """Say that no photos were found, and why that may be."""
    if "-" in (args.list, args.folder) or args.list:
        return "the list names no photos."
    if args.include or args.exclude:
        return f"{root}: no photos that --include and --exclude leave; check the patterns."
    return f"{root}: no photos in it; check the path (--hidden takes hidden ones, too)."


def _tell(args: argparse.Namespace, path: Path, find: "Find", targets: "list[Target]") -> int:
    """Print what would be done about every photo, one a line, and how many there are of each."""
    from captioner.folder.held import Held, read_held, read_records
    from captioner.folder.joining import newer
    from captioner.folder.plan import plan, remember
    from captioner.folder.progress import one_line
    from captioner.folder.shards import find_shards

    held = Held() if args.overwrite else read_held(path)
    if not args.overwrite:
        remember(targets, path)
    for _, part in find_shards(path) if args.join else ():
        for record, _ in read_records(part):
            for found in newer([record], held):
                held.add(found)
        remember(targets, part)
    kinds: Counter[str] = Counter()
    for step in plan(find(), held, targets=targets, retry_failed=args.retry_failed):
        kinds[step.kind] += 1
        print("\t".join(filter(None, (step.kind, one_line(step.found.name), step.reason))))
    if not args.quiet:
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "no photos"
        print(f"captioner: {counts}; nothing is written.", file=sys.stderr)
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
    if root.is_file():
        _check_archive(root)
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


def _check_archive(file: Path) -> None:
    """Make sure that a file given in place of a folder is a tar archive."""
    from captioner.folder.archives import list_archive
    from captioner.photo.opening import begins_like_a_photo

    try:
        with file.open("rb") as stream:
            if begins_like_a_photo(stream.read(16)):
                raise CaptionerError(
                    f"{file}: a photo, not a folder; `captioner caption` captions single photos."
                )
        next(list_archive(file), None)
    except ValueError as error:
        raise CaptionerError(f"{file}: neither a folder nor a tar archive: {error}.") from error
    except OSError as error:
        raise CaptionerError(f"{file}: cannot be read: {error.strerror}.") from error


def _open_list(source: str) -> BinaryIO:
    if source == "-":
        if sys.stdin is None:
            raise CaptionerError("standard input is closed; give the list with --list FILE.")
        return os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    try:
        return Path(source).open("rb")
    except OSError as error:
        raise CaptionerError(f"{source}: the list cannot be read: {error.strerror}.") from error


def _outputs(args: argparse.Namespace, root: Path) -> tuple[Path, list[Path]]:
    """Return the journal, and the tables that are made from it."""
    from captioner.folder.tables import check_table

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


def _texts(args: argparse.Namespace) -> "tuple[Wording, list[Target]]":
    """Return how captions are worded, and where they go beside the journal."""
    from captioner.folder.targets import Target
    from captioner.folder.wording import Wording

    kinds = sorted(set(args.sidecar)) + ["photo"] * args.in_place
    separator = ", " if args.separator is None else args.separator
    return (
        Wording(prefix=args.prefix, suffix=args.suffix, template=args.template),
        [
            Target(kind=kind, existing=args.existing or "skip", separator=separator)
            for kind in kinds
        ],
    )


def _identify(checkpoint: Path) -> str:
    """Digest of the checkpoint's file: names may be used twice."""
    with checkpoint.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _choose_engine(
    args: argparse.Namespace, checkpoints: list[Path], search: "SearchConfig"
) -> "Callable[[], AnyEngine]":
    """Return what makes the engine: of this process, or of a Ray cluster."""
    load = partial(_load_engine, args, search=search)
    if args.engine == "local":
        return partial(load, checkpoints)

    from captioner.folder.ray_engine import RayEngine

    engine = RayEngine(checkpoints, load, words=args.words, gpus=args.device != "cpu")
    return lambda: engine


def _load_engine(
    args: argparse.Namespace,
    checkpoints: list[Path],
    search: "SearchConfig",
    *,
    threads: int | None = None,
) -> "Engine":
    """Load the model; `threads` is how many cores there are for it, if not all of them."""
    from captioner.folder.engine import Engine
    from captioner.pipeline import Captioner

    captioner = Captioner.ensemble(
        [
            Captioner.load(checkpoint, device=args.device, precision=args.precision)
            for checkpoint in checkpoints
        ]
    )
    return Engine(
        captioner.compiled() if args.compile else captioner.packed(),
        search=search,
        batch_size=args.batch_size,
        workers=args.workers or min(16, threads or os.cpu_count() or 1),
        words=args.words,
    )
