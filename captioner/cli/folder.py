"""`captioner folder DIR`: a sentence for every photo of a folder."""

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from captioner.cli.folder_dry_run import tell, tell_estimate
from captioner.cli.folder_options import add_folder_parser, check_together
from captioner.cli.folder_paths import Find, find_inputs, find_outputs
from captioner.cli.folder_presets import apply_preset
from captioner.cli.options import Subcommands, choose_search, find_models, load_captioner
from captioner.config import to_table
from captioner.errors import CaptionerError
from captioner.folder.stopping import Stopped, stopping_gently

if TYPE_CHECKING:
    from captioner.checkpoint.header import Header
    from captioner.config import SearchConfig
    from captioner.folder.engines.local import LocalEngine
    from captioner.folder.job import Engine, Job
    from captioner.folder.outputs.results import Results
    from captioner.folder.outputs.silence import Silence
    from captioner.folder.outputs.wording import Wording
    from captioner.folder.progress import Progress, Style
    from captioner.folder.sidecars.targets import Target
    from captioner.folder.sources.remote import StrPath

_WATCH_SECONDS = 2.0
"""Between two looks at a folder that is watched."""
_MOST_THREADS = 16
"""That read and decode photos."""


def add_parser(commands: Subcommands) -> None:
    """Add the command to the others."""
    add_folder_parser(commands).set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Caption what is found, or tell what would be done."""
    from captioner.folder.progress import Progress

    style: Style = "json" if args.log == "json" else "quiet" if args.quiet else "text"
    progress = Progress(style)
    try:
        with stopping_gently(), progress:
            return _run(args, progress)
    except Stopped as stopped:
        return stopped.status
    except CaptionerError as error:
        if style != "json":
            raise
        progress.error(str(error))
        return 2


def _run(args: argparse.Namespace, progress: "Progress") -> int:
    from captioner.checkpoint.files import checkpoint_digest
    from captioner.folder.job import Job, describe
    from captioner.folder.journal.joining import join_shards
    from captioner.folder.journal.journal import Journal
    from captioner.folder.limits import Limits
    from captioner.folder.outputs.failures import beginnings, read_problems
    from captioner.folder.outputs.results import Results
    from captioner.folder.sources.remote import is_remote
    from captioner.folder.sources.shards import Shard

    apply_preset(args)
    check_together(args)
    limits = Limits.parse(args.max_failures, args.max_hours)
    shard = Shard.parse(args.shard)
    root, find, progress.passed_over = find_inputs(args, shard)
    path, *tables = map(shard.place, find_outputs(args, root))
    if args.revert:
        return _revert(args, path, root, progress)
    wording, targets = _texts(args, path)
    checkpoints, header = find_models(args)
    search = choose_search(header, args)
    silence = _silence(args, header)
    settings = {
        "checkpoint": header.name,
        "weights": ", ".join(map(checkpoint_digest, checkpoints)),
        "search": to_table(search),
        "text": to_table(wording),
        "words": args.words,
        "precision": args.precision,
        # Relative, so that a folder can be moved together with its captions.
        "folder": os.fspath(root)
        if is_remote(root)
        else os.path.relpath(os.path.realpath(root), os.path.realpath(path.parent)),
        **({"silence": to_table(silence)} if silence else {}),
        **({"shard": str(shard)} if shard.count > 1 else {}),
    }
    if args.dry_run:
        sample = tell(args, path, tables, root=root, settings=settings, find=find, targets=targets)
        progress.name_passed_over()
        if sample.is_worth_it and args.engine == "local" and not args.quiet:
            describing = partial(describe, wording=wording, silence=silence, words=args.words)
            tell_estimate(sample, _load_engine(args, checkpoints, search), describing)
        return 0
    load_engine = _choose_engine(args, checkpoints, search)

    gallery = shard.place(args.gallery) if args.gallery else None
    results = Results(tables=tables, words=args.words, gallery=gallery, root=root)
    results.prepare()
    with Journal(path, settings, overwrite=args.overwrite, repair=args.repair) as journal:
        if args.join:
            join_shards(journal, settings)
        before = read_problems(path, journal.index)
        job = Job(
            journal,
            load_engine,
            wording=wording,
            silence=silence,
            targets=targets,
            words=args.words,
            retry_failed=args.retry_failed,
            retried=beginnings(before, root=root),
            progress=progress,
            root=root,
            limits=limits,
        )
        _work(args, job, partial(_caption, args, job, find, results), results, before)
    if args.log == "text" and not args.quiet:
        if not progress.tally.total:
            print(f"captioner: {_nothing(args, root)}", file=sys.stderr)
        print(f"{', '.join(map(str, (path, *tables)))}: {progress.tally}")
        if gallery:
            print(f"{gallery / 'index.html'}: open it in a browser")
    return 1 if progress.tally.failed else 0


def _revert(args: argparse.Namespace, path: Path, root: "StrPath", progress: "Progress") -> int:
    """Take captions out of all files but the journal."""
    from captioner.folder.journal.journal import Journal
    from captioner.folder.journal.run_file import RunFile
    from captioner.folder.revert import revert

    settings = RunFile(path).read()
    if settings is None:
        raise CaptionerError(f"{path}: no captions of a folder; give the --output of the run.")
    with Journal(path, settings) as journal:
        outcome = revert(journal, root=root, progress=progress)
        journal.tidy()
    if args.log == "text" and not args.quiet:
        print(f"{path}: {outcome.changed} files as before, {outcome.kept} left as they are")
    return 1 if outcome.kept else 0


def _work(
    args: argparse.Namespace,
    job: "Job",
    caption: Callable[[], None],
    results: "Results",
    before: dict[str, str],
) -> None:
    """Caption, and write what is made from the journal, even if told to end meanwhile.

    Args:
        args: of the command.
        job: to do.
        caption: does it.
        results: to write.
        before: problems of the last run, which may not have come by yet when this one is stopped.
    """
    journal, over = job.journal, False
    try:
        caption()
        over = True
        journal.begin()
        _keep_edits(args, job, results)  # made while the run went on
        journal.tidy()
        problems = {**job.problems, **job.upkeep.unwritten}
        results.write(journal, problems, met=job.met, whole=True)
    except KeyboardInterrupt as stopped:
        job.progress.end("interrupted")
        if args.log == "text" and not args.quiet:
            _tell_interrupted(args, job, getattr(stopped, "why", "interrupted"))
        if journal.begun and not over:  # watching has no other end
            _keep_edits(args, job, results)
            journal.tidy(compact=args.watch or bool(results.tables))  # which have a row a photo
            problems = {**({} if args.watch else before), **job.problems, **job.upkeep.unwritten}
            results.write(journal, problems, met=job.met, whole=args.watch)
        raise
    except CaptionerError as error:
        if args.overwrite and journal.begun:
            raise CaptionerError(f"{error} Leave out --overwrite then, to go on.") from error
        raise
    job.progress.end("end")


def _keep_edits(args: argparse.Namespace, job: "Job", results: "Results") -> None:
    """Keep what somebody wrote into the tables that are going to be written again."""
    from captioner.folder.outputs.edits import read_edits

    if not args.overwrite:
        job.upkeep.keep(read_edits(results.tables, job.journal.index).items())


def _caption(args: argparse.Namespace, job: "Job", find: Find, results: "Results") -> None:
    from captioner.folder.sources.inputs import count

    again = not args.watch and "-" not in (args.list, args.folder)  # the photos can be found twice
    job.progress.begin(count(find()) if again and job.progress.wants_total else None)
    _keep_edits(args, job, results)
    if args.watch:
        job.watch(find, seconds=_WATCH_SECONDS)
    else:
        job.run(find())


def _tell_interrupted(args: argparse.Namespace, job: "Job", why: str) -> None:
    """Say how far the run came, and how to go on."""
    without = " without --overwrite" if args.overwrite and job.journal.begun else ""
    print(
        f"captioner: {job.journal.path}: {why} after {job.progress.tally}; the same command"
        f"{without} goes on from here.",
        file=sys.stderr,
        flush=True,
    )


def _nothing(args: argparse.Namespace, root: "StrPath") -> str:
    """Say that no photos were found, and why that may be."""
    if "-" in (args.list, args.folder) or args.list:
        return "the list names no photos."
    if args.include or args.exclude:
        return f"{root}: no photos that --include and --exclude leave; check the patterns."
    return f"{root}: no photos in it; check the path (--hidden takes hidden ones, too)."


def _silence(args: argparse.Namespace, header: "Header") -> "Silence":
    """Return which captions are not written.

    Raises:
        CaptionerError: the checkpoint cannot tell.
    """
    from captioner.folder.outputs.silence import Silence

    if args.purpose and header.confidence is None:
        args.skip_non_photos = False  # what most people want does not fail
    silence = Silence(min_confidence=args.min_confidence, photos_only=bool(args.skip_non_photos))
    if silence and header.confidence is None:
        raise CaptionerError(
            f"{header.name} cannot tell how far its captions can be believed; leave out "
            "--min-confidence and --skip-non-photos, or choose a checkpoint that can."
        )
    return silence


def _texts(args: argparse.Namespace, journal: Path) -> "tuple[Wording, list[Target]]":
    """Return how captions are worded, and where they go beside the journal."""
    from captioner.folder.outputs.wording import Wording
    from captioner.folder.plan import written_before
    from captioner.folder.sidecars import SIDECARS
    from captioner.folder.sidecars.targets import Target

    kinds = sorted(set(args.sidecar)) + ["photo"] * bool(args.in_place)
    if args.alt_text:
        suffix = {"also": "+alt-text", "only": "-alt-text"}[args.alt_text]
        kinds = [kind + suffix if kind + suffix in SIDECARS else kind for kind in kinds]
    separator = ", " if args.separator is None else args.separator
    before = written_before(journal) if args.existing == "own" and kinds else {}
    return (
        Wording(prefix=args.prefix, suffix=args.suffix, template=args.template),
        [
            Target(
                kind=kind,
                existing=args.existing or "skip",
                separator=separator,
                written_before=before,
            )
            for kind in kinds
        ],
    )


def _choose_engine(
    args: argparse.Namespace, checkpoints: list[Path], search: "SearchConfig"
) -> "Callable[[], Engine]":
    """Return what makes the engine: of this process, or of a Ray cluster."""
    load = partial(_load_engine, args, search=search)
    if args.engine == "local":
        return partial(load, checkpoints)

    from captioner.folder.engines.ray import RayEngine

    engine = RayEngine(checkpoints, load, words=args.words, gpus=args.device != "cpu")
    return lambda: engine


def _load_engine(
    args: argparse.Namespace,
    checkpoints: list[Path],
    search: "SearchConfig",
    *,
    threads: int | None = None,
) -> "LocalEngine":
    """Load the model; `threads` is how many cores there are for it, if not all of them."""
    from captioner.folder.engines.local import LocalEngine
    from captioner.folder.sources.remote import is_remote

    waiting = is_remote(args.folder or "")  # for a store, and the cores are free meanwhile
    threads = _MOST_THREADS if waiting else threads or os.cpu_count() or 1
    captioner = load_captioner(args, checkpoints)
    return LocalEngine(
        captioner.for_bulk(compiled=args.compile),
        search=search,
        batch_size=args.batch_size,
        workers=args.workers or min(_MOST_THREADS, threads),
        words=args.words,
    )
