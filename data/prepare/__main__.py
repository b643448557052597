"""Verify downloaded captions and photos, and pack them into tar shards.

    python -m data.prepare coco --root datasets/coco [--short-side 256]

Nothing is downloaded: missing files are listed with their addresses and destinations. The same
command resumes after a kill.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from captioner.cli.options import positive
from captioner.durable import check_writable
from captioner.errors import CaptionerError, DataError
from data.coco import load_records
from data.image_source import ImageSource
from data.prepare.checks import Found, find
from data.prepare.known import KNOWN
from data.prepare.opening import find_faults
from data.prepare.shard_plan import ShardSettings
from data.prepare.write_shards import write_shards


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, 1 with the reason on stderr, or 130 when interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m data.prepare",
        description="Verify downloaded captions and photos, and pack them into tar shards.",
        epilog="The same command resumes after a kill.",
    )
    default = ShardSettings()
    parser.add_argument(
        "data", help=f"{', '.join(KNOWN)}, or your own caption file, in any supported format"
    )
    parser.add_argument(
        "--root", required=True, type=Path, help="folder of the downloads or photos"
    )
    parser.add_argument("--output", type=Path, help="folder for the shards; ROOT_shards by default")
    parser.add_argument(
        "--short-side",
        type=int,
        default=default.short_side,
        metavar="N",
        help="resize photos to N pixels on the short side; 0 (the default) keeps them",
    )
    parser.add_argument(
        "--quality",
        type=int,
        default=default.quality,
        help="JPEG quality of resized photos (90)",
    )
    parser.add_argument(
        "--photos", type=int, default=default.photos, metavar="N", help="photos per shard (2000)"
    )
    parser.add_argument("--seed", type=int, default=default.seed, help="seed of the photo order")
    parser.add_argument(
        "--workers",
        type=positive,
        default=os.cpu_count() or 1,
        help="worker processes (default: one per core)",
    )
    parser.add_argument(
        "--no-md5", dest="md5", action="store_false", help="check sizes, but not checksums"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="open every photo, list all problems, and write no shards",
    )
    args = parser.parse_args(argv)
    output = args.output or args.root.with_name(args.root.name + "_shards")
    try:
        settings = ShardSettings(
            short_side=args.short_side, quality=args.quality, photos=args.photos, seed=args.seed
        )
        if output.resolve().is_relative_to(args.root.resolve()):
            raise DataError(
                f"{output} lies inside {args.root}, where its photos would be found twice; choose "
                "another folder with --output."
            )
        if not args.check:
            check_writable(output, folder=True, option="--output")
        faults: list[str] | None = [] if args.check else None
        checked = output / "checked.json"
        found = _find(args.data, args.root, checked=checked, md5=args.md5, faults=faults)
        counts = Counter(record.split for record in found.records)
        if counts:
            say(", ".join(f"{count:,} {split}" for split, count in counts.items()))
        if faults is not None:
            _check(found, faults, workers=args.workers)
            say("all photos exist and can be read, and none is in two splits")
            return 0
        source = ImageSource(found.images)
        write_shards(
            found.records, source, output, settings=settings, workers=args.workers, say=say
        )
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command resumes after the complete shards.", file=sys.stderr)
        return 130
    print(f'annotations = "{output / "captions.jsonl"}"\nimages = ["{output}"]')
    return 0


def say(line: str) -> None:
    """Print a message to standard error."""
    print(line, file=sys.stderr)


def _check(found: Found, faults: list[str], *, workers: int) -> None:
    """Check the photos.

    Raises:
        DataError: there are faults; the message lists all of them, those of captions first.
    """
    try:
        source = ImageSource(found.images)
    except DataError as error:
        faults += str(error).splitlines()
    else:
        faults += find_faults(found.records, source, workers=workers)
    if faults:
        problems = "1 problem" if len(faults) == 1 else f"{len(faults)} problems"
        raise DataError("\n".join([f"{problems}:", *faults]))


def _find(data: str, root: Path, *, checked: Path, md5: bool, faults: list[str] | None) -> Found:
    """Return the files of a known data set, or the user's own captions and photos."""
    if data in KNOWN:
        if not root.is_dir():
            raise DataError(f"{root} is not a folder; create it, and put the downloads there.")
        return find(root, KNOWN[data], checked=checked, md5=md5, faults=faults)
    if not Path(data).exists():
        raise DataError(
            f"Caption file {data} does not exist, and no known data set ({', '.join(KNOWN)}) has "
            "this name; check the path."
        )
    return Found(load_records(Path(data), faults=faults), [str(root)])


if __name__ == "__main__":
    sys.exit(main())
