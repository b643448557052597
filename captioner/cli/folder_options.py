"""What can be said to `captioner folder`."""

import argparse
from pathlib import Path

from captioner.cli.folder_presets import PRESETS
from captioner.cli.options import (
    Subcommands,
    add_model_options,
    add_search_options,
    fraction,
    positive,
)
from captioner.errors import CaptionerError
from captioner.folder.sidecars import SIDECARS

_EPILOG = """\
Every photo ends as captioned, skipped or failed. What is done is on disk, so a run that was stopped
or killed goes on with the same command. Ctrl-C ends it at once, and a second one leaves tables as
they are. The captions are JSON lines:
  {"image", "status": "captioned", "caption", "log_probability", "confidence", "level",
   "photo_probability", "is_photo", "size", "modified", "crc32"} (the four from "confidence" on
   only where the checkpoint can tell) or
  {"image", "status": "failed", "reason", "crc32"}, with "image_bytes" if the name is not text.
What is on disk counts: captions edited in any table are kept, sidecars that are missing are written
from the captions that are there, outputs can be added later, and a photo replaced under its name is
captioned again. Beside the captions, FILE.run.json says how they were made, FILE.tables.json what
tables were written, and FILE.failed.jsonl lists what failed.

Exit status: 0 all photos are captioned or skipped, 1 some failed (standard error names them), 2 the
command makes no sense or the output cannot be written, 3 a limit ended the run, 130 interrupted,
143 told to end (SIGTERM).
"""


def add_folder_parser(commands: Subcommands) -> argparse.ArgumentParser:
    """Add the command to the others, without what it runs."""
    parser = commands.add_parser(
        "folder",
        help="caption all photos of a folder, a list or tar archives",
        description="Caption all photos of a folder. A run that was stopped goes on where it was.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--for",
        dest="purpose",
        choices=list(PRESETS),
        help="the options that most people want for photo managers, for alt text on the web, to "
        "train a LoRA, or for a data set; those given beside it win",
    )
    _add_inputs(parser)
    _add_outputs(parser)
    parts = parser.add_argument_group("many machines")
    parts.add_argument(
        "--shard",
        default="1/1",
        metavar="I/N",
        help="caption only the part I of N, such as 3/16; the names decide which photos that are, "
        "and captions go to captions-003-of-016.jsonl",
    )
    parts.add_argument(
        "--join",
        action="store_true",
        help="first gather what all shards wrote into captions.jsonl; they stay as they are",
    )
    parts.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="ray: caption on the cluster whose address is in RAY_ADDRESS, or on all cores or GPUs "
        "of this machine, a model on each",
    )
    again = parser.add_argument_group("what was done before")
    again.add_argument(
        "--retry-failed",
        action="store_true",
        help="caption only what failed, and what lies in archives and folders that could not be "
        "looked through",
    )
    again.add_argument(
        "--overwrite",
        action="store_true",
        help="begin again; captions in the output are lost with the first new ones. To go on with "
        "a run that was stopped, leave it out",
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
        help="take out what the run wrote beside photos and into them; what was edited since stays "
        "and is named",
    )
    again.add_argument(
        "--dry-run",
        action="store_true",
        help="tell what would be done and, from a few photos, how long it takes; write nothing",
    )
    again.add_argument(
        "--max-failures",
        metavar="N|P%",
        help="end the run when more than N photos fail, or more than P%% of at least a hundred",
    )
    again.add_argument(
        "--max-hours", type=float, metavar="H", help="end the run then; the same command goes on"
    )
    shown = parser.add_argument_group("what is shown")
    shown.add_argument("--quiet", action="store_true", help="name failures only")
    shown.add_argument(
        "--log", choices=("text", "json"), default="text", help="json: events, one a line"
    )
    add_model_options(parser, precision="auto")
    parser.add_argument(
        "--batch-size",
        type=positive,
        metavar="N",
        help="photos captioned at once (found by trying); halved where memory does not suffice",
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help="have torch.compile turn the encoder into code first, which takes a minute and a C++ "
        "compiler",
    )
    parser.add_argument(
        "--workers",
        type=positive,
        metavar="N",
        help="threads that decode (one a core, at most 16; 16 for stores)",
    )
    add_search_options(parser, listed=False)
    return parser


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    inputs = parser.add_argument_group("photos")
    inputs.add_argument(
        "folder",
        nargs="?",
        metavar="DIR",
        help="a folder, with the folders and tar archives in it; a tar archive; either of them in "
        "an object store, as s3://BUCKET/PREFIX; or - for a list of paths on standard input",
    )
    inputs.add_argument("more", nargs="*", help=argparse.SUPPRESS)  # to say that it is too much
    inputs.add_argument("--list", metavar="FILE", help="a path a line, relative to DIR; - as above")
    inputs.add_argument("--null", action="store_true", help="paths in the list end with a zero")
    inputs.add_argument(
        "--include",
        action="append",
        default=[],
        metavar="GLOB",
        help="only these, as '*.jpg' or '**/2024'",
    )
    inputs.add_argument("--exclude", action="append", default=[], metavar="GLOB", help="not these")
    inputs.add_argument(
        "--hidden",
        action="store_true",
        help="names that begin with a dot, and folders such as @eaDir or #recycle, too",
    )
    inputs.add_argument(
        "--watch",
        action="store_true",
        help="go on with the photos that come, until Ctrl-C; tables and gallery are written then",
    )


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    beside = {
        kind: sidecar.place("photo.jpg")
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
        help="where captions go (DIR/captions.jsonl); .csv, .parquet, DIR/metadata.jsonl "
        "(imagefolder) and photos-%%06d.tar (WebDataset) are made from it at the end; can be given "
        "several times",
    )
    outputs.add_argument(
        "--words", action="store_true", help="write probability and attention of every word, too"
    )
    outputs.add_argument(
        "--gallery",
        type=Path,
        metavar="DIR",
        help="at the end, write a page to browse them, with where the model looked if --words",
    )
    outputs.add_argument(
        "--min-confidence",
        type=fraction,
        default=0.0,
        metavar="P",
        help="write no caption of less confidence, from 0 to 1; its line has an empty one",
    )
    outputs.add_argument(
        "--skip-non-photos",
        action=argparse.BooleanOptionalAction,
        help="write no caption of images that are no photos, such as documents and drawings; "
        "their lines have an empty one",
    )
    for name in ("--prefix", "--suffix"):  # which a template can say, too
        outputs.add_argument(name, default="", help=argparse.SUPPRESS)
    outputs.add_argument(
        "--template",
        default="{caption}",
        metavar="TEXT",
        help="what is written, such as 'a photo of {caption}'; {name}, {stem} and {folder} are the "
        "photo's",
    )
    outputs.add_argument(
        "--sidecar",
        action="append",
        choices=list(beside),
        default=[],
        help=f"write {' or '.join(beside.values())} beside photo.jpg; can be given again",
    )
    outputs.add_argument(
        "--in-place",
        action=argparse.BooleanOptionalAction,
        help="write captions into the photos, too, as XMP and IPTC, and into Exif that has one; "
        "their pixels and their time of change stay as they are",
    )
    outputs.add_argument(
        "--existing",
        choices=("skip", "own", "overwrite", "append", "prepend"),
        help="what to do where --sidecar or --in-place meets a caption, wherever photo managers "
        "look for it: in the photo or in an XMP file beside it (skip); own replaces what captioner "
        "wrote and nobody has edited since",
    )
    outputs.add_argument(
        "--alt-text",
        nargs="?",
        choices=("also", "only"),
        const="also",
        help="with --in-place or XMP files: write alt text, of 125 characters at most, beside the "
        "caption, or only that",
    )
    outputs.add_argument(
        "--separator", metavar="TEXT", help="between captions that are joined (', ')"
    )


def check_together(args: argparse.Namespace) -> None:
    """Refuse what cannot be meant, and what does nothing.

    Raises:
        CaptionerError: two options contradict each other, or one does nothing.
    """
    elsewhere = bool(args.sidecar or args.in_place)
    if args.more:
        raise CaptionerError(
            f"{args.more[0]}: there is one folder to a run, and {args.folder} is it; caption the "
            "others with commands of their own, single photos with `captioner caption`, and many "
            "by a list: `ls photos/*.jpg | captioner folder - --output captions.jsonl`."
        )
    if args.join and args.shard != "1/1":
        raise CaptionerError("--join gathers what all shards wrote; leave out --shard.")
    if args.overwrite and args.retry_failed:
        raise CaptionerError(
            "--overwrite begins again, and --retry-failed captions only what failed before; give "
            "one of them."
        )
    if args.watch and args.retry_failed:
        raise CaptionerError(
            "--watch captions what comes, and --retry-failed only what failed before; give one of "
            "them."
        )
    if args.overwrite and elsewhere and args.existing is None:
        raise CaptionerError(
            "--overwrite begins the output again; say with --existing what is to become of "
            "captions that are in sidecars or photos: own replaces those that captioner wrote and "
            "nobody edited, overwrite all, skip passes their photos by."
        )
    idle = {
        "--existing is for captions written with --sidecar or --in-place": args.existing
        and not elsewhere,
        "--alt-text is for --in-place and XMP files": args.alt_text
        and not (args.in_place or {"xmp", "lightroom"} & set(args.sidecar)),
        "--separator is for --existing append or prepend": args.separator is not None
        and args.existing not in ("append", "prepend"),
        "--null is for lists": args.null and "-" not in (args.list, args.folder) and not args.list,
    }
    for why in (why for why, useless in idle.items() if useless):
        raise CaptionerError(f"{why}, and does nothing here; leave it out.")
