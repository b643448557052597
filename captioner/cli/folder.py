"""`captioner folder DIR`: captions every photo of a folder."""

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from captioner.cli.folder_dry_run import print_plan
from captioner.cli.folder_options import add_folder_parser, check_together
from captioner.cli.folder_paths import Find, find_inputs, find_outputs
from captioner.cli.folder_presets import apply_preset
from captioner.cli.options import (
    Subcommands,
    choose_search,
    find_models,
    in_options,
    load_captioner,
)
from captioner.config import to_table
from captioner.errors import CaptionerError
from captioner.folder.stopping import Stopped, graceful_shutdown

if TYPE_CHECKING:
    from captioner.checkpoint.header import Header
    from captioner.config import SearchConfig
    from captioner.folder.engines.local import LocalEngine
    from captioner.folder.job import Engine, Job
    from captioner.folder.outputs.results import Results
    from captioner.folder.outputs.template import CaptionTemplate, ConfidenceFilter
    from captioner.folder.progress import Progress, Style
    from captioner.folder.sidecars.targets import Target
    from captioner.folder.sources.remote import StrPath

_WATCH_SECONDS = 2.0
"""Seconds between two scans of a watched folder."""
_MOST_THREADS = 16
"""Threads that read photos, at most."""


def add_parser(commands: Subcommands) -> None:
    """Add the command to the others."""
    add_folder_parser(commands, run)


def run(args: argparse.Namespace) -> int:
    """Caption the photos found, or print what would be done."""
    from captioner.folder.progress import Progress

    style: Style = "json" if args.log == "json" else "quiet" if args.quiet else "text"
    progress = Progress(style)
    try:
        with graceful_shutdown(), progress:
            return _run(args, progress)
    except Stopped as stopped:
        return stopped.status
    except CaptionerError as error:
        if style != "json":
            raise
        progress.error(in_options(error))
        return 2


def _run(args: argparse.Namespace, progress: "Progress") -> int:
    from captioner.checkpoint.files import checkpoint_digest
    from captioner.folder.estimate import estimate
    from captioner.folder.job import Job, make_record
    from captioner.folder.journal.joining import join_shards
    from captioner.folder.journal.journal import Journal
    from captioner.folder.limits import Limits
    from captioner.folder.outputs.failures import failures_path, name_prefixes, read_problems
    from captioner.folder.outputs.results import Results
    from captioner.folder.sources.remote import is_remote
    from captioner.folder.sources.shards import Shard

    apply_preset(args)
    check_together(args)
    limits = Limits.parse(args.max_failures, args.max_hours)
    shard = Shard.parse(args.shard)
    root, find, progress.skipped_folders = find_inputs(args, shard)
    path, *tables = map(shard.path_for, find_outputs(args, root))
    if args.revert:
        return _revert(args, path, root, progress)
    template, targets = _template_and_targets(args, path)
    checkpoints, header = find_models(args)
    search = choose_search(header, args)
    confidence_filter = _confidence_filter(args, header)
    settings = {
        "checkpoint": header.name,
        "weights": ", ".join(map(checkpoint_digest, checkpoints)),
        "search": to_table(search),
        "text": to_table(template),
        "words": args.words,
        "precision": args.precision,
        # Relative, so that a folder can be moved together with its captions.
        "folder": os.fspath(root)
        if is_remote(root)
        else os.path.relpath(os.path.realpath(root), os.path.realpath(path.parent)),
        **({"withhold": to_table(confidence_filter)} if confidence_filter else {}),
        **({"shard": str(shard)} if shard.count > 1 else {}),
    }
    if args.dry_run:
        sample = print_plan(
            args, path, tables, root=root, settings=settings, find=find, targets=targets
        )
        progress.name_skipped_folders()
        if sample.is_worth_it and args.engine == "local" and not args.quiet:
            make = partial(
                make_record,
                template=template,
                confidence_filter=confidence_filter,
                words=args.words,
            )
            cost = estimate(sample, _load_engine(args, checkpoints, search).run, make)
            print(f"captioner: estimate for {sample.count} photos: {cost}.", file=sys.stderr)
        return 0
    load_engine = _choose_engine(args, checkpoints, search)

    gallery = shard.path_for(args.gallery) if args.gallery else None
    results = Results(tables=tables, words=args.words, gallery=gallery, root=root)
    results.prepare()
    with Journal(path, settings, overwrite=args.overwrite, repair=args.repair) as journal:
        if args.join:
            join_shards(journal, settings)
        before = read_problems(path, journal.index)
        job = Job(
            journal,
            load_engine,
            template=template,
            confidence_filter=confidence_filter,
            targets=targets,
            words=args.words,
            retry_failed=args.retry_failed,
            retried=name_prefixes(before, root=root),
            progress=progress,
            root=root,
            limits=limits,
        )
        _work(args, job, partial(_caption, args, job, find, results), results, before)
    if args.log == "text" and job.failed_before:
        photos = f"{job.failed_before} photo{'s' if job.failed_before > 1 else ''}"
        print(
            f"captioner: {photos} failed in an earlier run, for the reasons in "
            f"{failures_path(path)}; --retry-failed retries them.",
            file=sys.stderr,
        )
    if args.log == "text" and not args.quiet:
        if not progress.tally.total:
            print(f"captioner: {_no_photos(args, root)}", file=sys.stderr)
        print(f"{', '.join(map(str, (path, *tables)))}: {progress.tally}")
        if gallery:
            print(f"{gallery / 'index.html'}: open it in a browser")
    return 1 if progress.tally.failed else 0


def _revert(args: argparse.Namespace, path: Path, root: "StrPath", progress: "Progress") -> int:
    """Remove captions from all files but the journal."""
    from captioner.folder.journal.journal import Journal
    from captioner.folder.journal.run_file import RunFile
    from captioner.folder.revert import revert

    settings = RunFile(path).read()
    if settings is None:
        raise CaptionerError(f"{path}: no journal of an earlier run; use the --output of that run.")
    with Journal(path, settings) as journal:
        outcome = revert(journal, root=root, progress=progress)
        journal.tidy()
    if args.log == "text" and not args.quiet:
        print(f"{path}: files restored: {outcome.changed}, left unchanged: {outcome.kept}")
    return 1 if outcome.kept else 0


def _work(
    args: argparse.Namespace,
    job: "Job",
    caption: Callable[[], None],
    results: "Results",
    before: dict[str, str],
) -> None:
    """Caption, and write the outputs made from the journal, even if interrupted.

    `before` has the problems of the last run, which an interrupted run may not have reached again.
    """
    journal, over = job.journal, False
    try:
        caption()
        over = True
        journal.begin()
        _keep_edits(args, job, results)  # made during the run
        journal.tidy()
        problems = {**job.problems, **job.updater.unwritten}
        results.write(journal, problems, met=job.met, whole=True)
    except KeyboardInterrupt as stopped:
        job.progress.end("interrupted")
        if args.log == "text" and not args.quiet:
            _print_interrupted(args, job, getattr(stopped, "why", "interrupted"))
        if journal.begun and not over:  # the normal end of --watch
            _keep_edits(args, job, results)
            journal.tidy(compact=args.watch or bool(results.tables))  # tables need one row a photo
            problems = {**({} if args.watch else before), **job.problems, **job.updater.unwritten}
            results.write(journal, problems, met=job.met, whole=args.watch)
        raise
    except CaptionerError as error:
        if args.overwrite and journal.begun:
            raise CaptionerError(f"{error} To resume, omit --overwrite.") from error
        raise
    job.progress.end("end")


def _keep_edits(args: argparse.Namespace, job: "Job", results: "Results") -> None:
    """Store captions edited in tables before the tables are written again."""
    from captioner.folder.outputs.edits import read_edits

    if not args.overwrite:
        job.updater.keep(read_edits(results.tables, job.journal.index).items())


def _caption(args: argparse.Namespace, job: "Job", find: Find, results: "Results") -> None:
    again = not args.watch and "-" not in (args.list, args.folder)  # the input can be read twice
    job.progress.begin(sum(1 for _ in find()) if again and job.progress.wants_total else None)
    _keep_edits(args, job, results)
    if args.watch:
        job.watch(find, seconds=_WATCH_SECONDS)
    else:
        job.run(find())


def _print_interrupted(args: argparse.Namespace, job: "Job", why: str) -> None:
    """Print how far the run got, and how to resume."""
    without = " without --overwrite" if args.overwrite and job.journal.begun else ""
    print(
        f"captioner: {job.journal.path}: {why} after {job.progress.tally}; run the same command"
        f"{without} to resume.",
        file=sys.stderr,
        flush=True,
    )


def _no_photos(args: argparse.Namespace, root: "StrPath") -> str:
    """Return a message that no photos were found, with the likely cause."""
    if "-" in (args.list, args.folder) or args.list:
        return "no photos on the list."
    if args.shard != "1/1":
        return f"{root}: no photos in shard {args.shard}."
    if args.include or args.exclude:
        return f"{root}: no photos match --include and --exclude; check the patterns."
    return f"{root}: no photos found; check the path (--hidden includes hidden files)."


def _confidence_filter(args: argparse.Namespace, header: "Header") -> "ConfidenceFilter":
    """Return the rule that withholds captions.

    Raises:
        CaptionerError: the checkpoint has no calibrated confidence.
    """
    from captioner.folder.outputs.template import ConfidenceFilter

    if args.purpose and header.confidence is None:
        args.skip_non_photos = False  # a preset must work with every checkpoint
    confidence_filter = ConfidenceFilter(
        min_confidence=args.min_confidence, photos_only=bool(args.skip_non_photos)
    )
    if confidence_filter and header.confidence is None:
        raise CaptionerError(
            f"{header.name} has no calibrated confidence; omit --min-confidence and "
            "--skip-non-photos, or choose a checkpoint that has."
        )
    return confidence_filter


def _template_and_targets(
    args: argparse.Namespace, journal: Path
) -> "tuple[CaptionTemplate, list[Target]]":
    """Return the caption template, and the sidecars to write."""
    from captioner.folder.outputs.template import CaptionTemplate
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
        CaptionTemplate(prefix=args.prefix, suffix=args.suffix, template=args.template),
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
    """Return a function that creates the engine: in this process, or on a Ray cluster."""
    load = partial(_load_engine, args, search=search)
    if args.engine == "local":
        return partial(load, checkpoints)

    from captioner.folder.engines.ray import RayEngine

    engine = RayEngine(checkpoints, load, gpus=args.device != "cpu")
    return lambda: engine


def _load_engine(
    args: argparse.Namespace,
    checkpoints: list[Path],
    search: "SearchConfig",
    *,
    threads: int | None = None,
) -> "LocalEngine":
    """Load the model; `threads` limits the cores it may use."""
    from captioner.folder.engines.local import LocalEngine
    from captioner.folder.sources.remote import is_remote

    waiting = is_remote(args.folder or "")  # threads wait for the store, so cores are idle
    threads = _MOST_THREADS if waiting else threads or os.cpu_count() or 1
    captioner = load_captioner(args, checkpoints)
    return LocalEngine(
        captioner.for_bulk(compiled=args.compile),
        search=search,
        batch_size=args.batch_size,
        workers=args.workers or min(_MOST_THREADS, threads),
        words=args.words,
    )
