"""Options of `captioner folder`."""

import argparse
from collections.abc import Callable
from pathlib import Path

from captioner.cli.folder_presets import PRESETS
from captioner.cli.options import (
    Subcommands,
    add_command,
    add_model_options,
    add_search_options,
    fraction,
    positive,
)
from captioner.errors import CaptionerError
from captioner.folder.sidecars import SIDECARS

_EPILOG = """\
Every photo ends as captioned, skipped or failed. Results are on disk at once, so the same command
resumes a run that was stopped or killed. Ctrl-C stops it after writing the tables; a second Ctrl-C
skips them. Captions are JSON lines:
  {"image", "status": "captioned", "caption", "log_probability", "confidence", "level",
   "photo_probability", "is_photo", "size", "modified", "crc32"} (the four from "confidence" on
   only if the checkpoint provides them) or
  {"image", "status": "failed", "reason", "crc32"}, with "image_bytes" if the name is not text.
Captions edited in any table are kept, missing sidecars are rewritten, outputs can be added later,
and a photo replaced under its name is captioned again. Beside the captions, FILE.run.json contains
the settings, FILE.tables.json the tables written, and FILE.failed.jsonl the failures.

Exit status: 0 all photos captioned or skipped, 1 some failed (named on standard error), 2 invalid
command or unwritable output, 3 stopped by a limit, 130 interrupted, 143 terminated (SIGTERM).
"""


def add_folder_parser(commands: Subcommands, run: Callable[[argparse.Namespace], int]) -> None:
    """Add the command and its options, without importing what it runs."""
    parser = add_command(
        commands,
        "folder",
        run,
        summary="caption all photos of a folder, a list or tar archives",
        description="Caption all photos of a folder, resuming an interrupted run.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "--for",
        dest="purpose",
        choices=list(PRESETS),
        help="preset of options for photo managers, alt text on the web, LoRA training, or a data "
        "set; other options take precedence",
    )
    _add_inputs(parser)
    _add_outputs(parser)
    parts = parser.add_argument_group("many machines")
    parts.add_argument(
        "--shard",
        default="1/1",
        metavar="I/N",
        help="caption only part I of N, such as 3/16, chosen by file name; captions go to "
        "captions-003-of-016.jsonl",
    )
    parts.add_argument(
        "--join",
        action="store_true",
        help="first join the captions of all shards in captions.jsonl; their files are kept",
    )
    parts.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="ray: use the cluster at RAY_ADDRESS, or all cores or GPUs of this machine, with a "
        "model on each",
    )
    again = parser.add_argument_group("earlier runs and limits")
    again.add_argument(
        "--retry-failed",
        action="store_true",
        help="retry failures only, and archives and folders that could not be read",
    )
    again.add_argument(
        "--overwrite",
        action="store_true",
        help="start again, replacing the captions in the output; not needed to resume",
    )
    again.add_argument(
        "--repair",
        action="store_true",
        help="move damaged lines of the output to FILE.damaged.jsonl, and caption their photos "
        "again",
    )
    again.add_argument(
        "--revert",
        action="store_true",
        help="remove what the run wrote into photos and sidecars; what people edited since stays, "
        "and is named",
    )
    again.add_argument(
        "--dry-run",
        action="store_true",
        help="print what would be done and an estimate of time and bytes; write nothing",
    )
    again.add_argument(
        "--max-failures",
        metavar="N|P%",
        help="stop when more than N photos fail, or P%% of at least a hundred",
    )
    again.add_argument(
        "--max-hours",
        type=float,
        metavar="H",
        help="stop after this time; the same command resumes",
    )
    shown = parser.add_argument_group("logging")
    shown.add_argument("--quiet", action="store_true", help="print failures only")
    shown.add_argument(
        "--log", choices=("text", "json"), default="text", help="json: one event per line"
    )
    add_model_options(parser, precision="auto")
    parser.add_argument(
        "--batch-size",
        type=positive,
        metavar="N",
        help="photos per batch (found by trying), halved when memory runs out",
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help="compile the encoder with torch.compile, which takes a minute and needs a C++ "
        "compiler",
    )
    parser.add_argument(
        "--workers",
        type=positive,
        metavar="N",
        help="threads that read photos (one per core, at most 16; 16 for object stores)",
    )
    add_search_options(parser, listed=False)


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    inputs = parser.add_argument_group("photos")
    inputs.add_argument(
        "folder",
        nargs="?",
        metavar="DIR",
        help="a folder, including subfolders and tar archives; a tar archive; either of them in an "
        "object store, as s3://BUCKET/PREFIX; or - for a list of paths on standard input",
    )
    inputs.add_argument("more", nargs="*", help=argparse.SUPPRESS)  # to say that it is too much
    inputs.add_argument(
        "--list", metavar="FILE", help="file with one path per line, relative to DIR"
    )
    inputs.add_argument(
        "--null", action="store_true", help="paths in the list are separated by null bytes"
    )
    inputs.add_argument(
        "--include",
        action="append",
        default=[],
        metavar="GLOB",
        help="only photos that match, such as '*.jpg' or '**/2024'",
    )
    inputs.add_argument(
        "--exclude", action="append", default=[], metavar="GLOB", help="skip photos that match"
    )
    inputs.add_argument(
        "--hidden",
        action="store_true",
        help="include hidden files, and system folders such as @eaDir or #recycle",
    )
    inputs.add_argument(
        "--watch",
        action="store_true",
        help="wait for new photos until Ctrl-C; tables and gallery are written then",
    )


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    beside = {
        kind: sidecar.path_for("photo.jpg")
        for kind, sidecar in SIDECARS.items()
        if not sidecar.inside and sidecar.fields == "caption"
    }
    outputs = parser.add_argument_group("captions")
    outputs.add_argument(
        "--output",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="output file (DIR/captions.jsonl); .csv, .parquet, DIR/metadata.jsonl (imagefolder) "
        "and photos-%%06d.tar (WebDataset) are written from it at the end; repeatable",
    )
    outputs.add_argument(
        "--words", action="store_true", help="write probability and attention of every word"
    )
    outputs.add_argument(
        "--gallery",
        type=Path,
        metavar="DIR",
        help="write a page to browse photos and captions, with attention if --words",
    )
    outputs.add_argument(
        "--min-confidence",
        type=fraction,
        default=0.0,
        metavar="P",
        help="leave captions with a lower confidence (0 to 1) empty",
    )
    outputs.add_argument(
        "--skip-non-photos",
        action=argparse.BooleanOptionalAction,
        help="leave the captions of documents, drawings and other non-photos empty",
    )
    for name in ("--prefix", "--suffix"):  # which a template can say, too
        outputs.add_argument(name, default="", help=argparse.SUPPRESS)
    outputs.add_argument(
        "--template",
        default="{caption}",
        metavar="TEXT",
        help="text to write, such as 'a photo of {caption}'; also {name}, {stem} and {folder}",
    )
    outputs.add_argument(
        "--sidecar",
        action="append",
        choices=list(beside),
        default=[],
        help=f"write {' or '.join(beside.values())} beside photo.jpg; repeatable",
    )
    outputs.add_argument(
        "--in-place",
        action=argparse.BooleanOptionalAction,
        help="write captions into the photos as XMP and IPTC, and into Exif that has one; pixels "
        "and modification time do not change",
    )
    outputs.add_argument(
        "--existing",
        choices=("skip", "own", "overwrite", "append", "prepend"),
        help="what --sidecar and --in-place do with a caption that is already in the photo or in "
        "an XMP file beside it (skip); own: replace it if captioner wrote it and nobody has "
        "edited it since",
    )
    outputs.add_argument(
        "--alt-text",
        nargs="?",
        choices=("also", "only"),
        const="also",
        help="with --in-place or XMP files: also write alt text of at most 125 characters, or "
        "write only that",
    )
    outputs.add_argument("--separator", metavar="TEXT", help="separator of joined captions (', ')")


def check_together(args: argparse.Namespace) -> None:
    """Reject contradictory options, and options without effect.

    Raises:
        CaptionerError: two options contradict each other, or one has no effect.
    """
    elsewhere = bool(args.sidecar or args.in_place)
    if args.more:
        raise CaptionerError(
            f"{args.more[0]}: a run takes one folder, here {args.folder}; run the command once "
            "per folder, use `captioner caption` for single photos, or pass a list: "
            "`ls photos/*.jpg | captioner folder - --output captions.jsonl`."
        )
    if args.join and args.shard != "1/1":
        raise CaptionerError("--join merges all shards; omit --shard.")
    if args.overwrite and args.retry_failed:
        raise CaptionerError(
            "--overwrite starts over, while --retry-failed retries failures only; use one of them."
        )
    if args.watch and args.retry_failed:
        raise CaptionerError(
            "--watch captions new photos, while --retry-failed retries failures only; use one of "
            "them."
        )
    if args.overwrite and elsewhere and args.existing is None:
        raise CaptionerError(
            "--overwrite needs --existing, which says what to do with captions in sidecars or "
            "photos: own replaces those that captioner wrote and nobody edited, overwrite replaces "
            "all, skip skips their photos."
        )
    in_photo = ["photo"] if args.in_place else []
    idle = {
        "--existing has no effect without --sidecar or --in-place": args.existing and not elsewhere,
        "--alt-text has no effect without --in-place or XMP files": args.alt_text
        and not any(f"{kind}+alt-text" in SIDECARS for kind in (*args.sidecar, *in_photo)),
        "--separator has no effect without --existing append or prepend": args.separator is not None
        and args.existing not in ("append", "prepend"),
        "--null has no effect without a list": args.null
        and "-" not in (args.list, args.folder)
        and not args.list,
    }
    for why in (why for why, useless in idle.items() if useless):
        raise CaptionerError(f"{why}; omit it.")
