"""The command `python -m training.report`."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from captioner.durable import check_writable, file_digest
from captioner.errors import CaptionerError, ConfigError
from training.evaluate import evaluate
from training.options import at_least
from training.report.comparison import (
    compare,
    draw_comparison,
    write_comparison,
    write_table,
)
from training.report.figures import COLOURS, join_drawings
from training.report.page import frame_page, write_page
from training.report.run_files import EVALUATION, GROUNDING, RunFiles, read_run
from training.report.samples import draw_samples
from training.scoring.result_files import save_report, save_text

_WAY_OUT = "Run this in the folder where training was started, or give --annotations and --images."


def report(
    folder: Path,
    *,
    annotations: Path | None = None,
    images: Sequence[str] = (),
    number: int = 6,
    measure: bool = True,
    device: str = "auto",
) -> str:
    """Build the page of a run.

    Args:
        folder: folder of the run.
        annotations: validation captions; those of the run's settings by default.
        images: folders or archives of their photos; likewise.
        number: number of photos to show.
        measure: evaluate the best checkpoint unless the folder holds its evaluation, and save the
            evaluation there.
        device: `auto`, `cpu`, `cuda`, ...

    Raises:
        CaptionerError: the folder holds no run, or a file in it is damaged.
    """
    record = read_run(folder)
    notes: dict[str, str] = {}
    photos: list[str] = []
    checkpoint = record.checkpoint
    if checkpoint is None:
        notes["photos"] = "No photos yet: the first checkpoint is saved at the first validation."
        return write_page(record, photos=photos, notes=notes)
    source = _source(record, annotations, images)
    digest = file_digest(checkpoint)
    if record.evaluation and record.evaluation.get("sha256") != digest:
        record = replace(record, evaluation=None)  # of an earlier checkpoint
    if record.grounding and record.grounding.get("sha256") != digest:
        record = replace(record, grounding=None)
        notes["grounding"] = f"{GROUNDING} is of another checkpoint; run training.grounding again."
    try:
        if record.evaluation is None and measure:
            _, found = evaluate(checkpoint, device=device, **source)
            save_report(folder / EVALUATION, found)
            record = replace(record, evaluation=found)
    except CaptionerError as error:
        notes["scores"] = f"Intervals, lengths and calibration are missing: {error}"
    try:
        if number:
            photos = draw_samples(checkpoint, number=number, device=device, **source)
    except CaptionerError as error:
        notes["photos"] = f"Photos are missing: {error} {_WAY_OUT}"
    return write_page(record, photos=photos, notes=notes)


def save_comparison(folders: Sequence[Path], output: Path) -> None:
    """Write the page that compares runs, its table as CSV and its curves as SVG beside it.

    Raises:
        CaptionerError: a folder holds no run, there are more runs than colours, or the page would
            be replaced by the table or the curves.
    """
    if output.suffix in (".csv", ".svg"):
        raise ConfigError(
            f"--output is {output}, but names the page; give it as {output.with_suffix('.html')}, "
            "and the table and the curves are written beside it as .csv and .svg."
        )
    if len(folders) > len(COLOURS):
        raise ConfigError(
            f"{len(folders)} runs were given; at most {len(COLOURS)} can be compared."
        )
    runs = [read_run(folder) for folder in folders]
    rows = compare(runs)
    names = ", ".join(run.folder.name for run in runs)
    drawings = draw_comparison(runs)
    page = frame_page("comparison of runs", names, write_comparison(runs, rows, drawings))
    curves = join_drawings(drawings, names=[run.folder.name for run in runs])
    save_text(output, page, what="Report")
    save_text(output.with_suffix(".csv"), write_table(rows), what="Table")
    save_text(output.with_suffix(".svg"), curves, what="Drawing")


def _source(record: RunFiles, annotations: Path | None, images: Sequence[str]) -> dict[str, Any]:
    """Return where the validation photos are: from the run's settings by default."""
    known = record.settings.get("data", {}).get("val", {})
    return {
        "annotations": annotations or Path(known.get("annotations", "unknown")),
        "images": list(images) or list(known.get("images", [])),
        "split": known.get("split"),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m training.report",
        description="Write a report of a run, finished or not, or compare several, as HTML.",
    )
    parser.add_argument(
        "runs",
        type=Path,
        nargs="+",
        metavar="RUN",
        help="folder of a run, such as runs/NAME; give several to compare them",
    )
    parser.add_argument(
        "--output",
        type=Path,
        help="HTML file to write; RUN/report.html by default, or comparison.html for several runs, "
        "with the table as .csv and the curves as .svg beside it",
    )
    parser.add_argument("--annotations", type=Path, help="validation captions (default: the run's)")
    parser.add_argument(
        "--images",
        nargs="+",
        default=[],
        help="folders or archives of their photos (default: the run's)",
    )
    parser.add_argument(
        "--photos", type=at_least(0), default=6, help="number of photos to show (6)"
    )
    parser.add_argument(
        "--measure",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="evaluate the best checkpoint if that has not been done yet (the default)",
    )
    parser.add_argument("--device", default="auto", help="auto (the default), cpu, cuda, ...")
    args = parser.parse_args(argv)
    (run, *others) = args.runs
    output = args.output or (Path("comparison.html") if others else run / "report.html")
    try:
        if args.output or run.is_dir():
            check_writable(output, option="--output")
        if others:
            save_comparison(args.runs, output)
            print(output)
            return 0
        page = report(
            run,
            annotations=args.annotations,
            images=args.images,
            number=args.photos,
            measure=args.measure,
            device=args.device,
        )
        save_text(output, page, what="Report")
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
