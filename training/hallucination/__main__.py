"""The command `python -m training.hallucination`."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from captioner.checkpoint.shipped import find_checkpoint
from captioner.cli.options import positive
from captioner.durable import check_writable, file_digest
from captioner.errors import CaptionerError, ConfigError
from captioner.pytorch import TorchCaptioner
from data.coco import Record, load_records
from data.image_source import ImageSource
from data.instances import read_instances
from data.nouns import load_nouns
from data.objects import OTHER_WORDS, ObjectWords
from training.hallucination.rates import Judged
from training.hallucination.report import (
    caption_photos,
    measure_captions,
    measure_people,
    measure_texts,
)
from training.hallucination.tables import write_tables
from training.hallucination.truth import Truth
from training.options import add_options, at_least, given_search
from training.scoring.measures import RESAMPLES
from training.scoring.provenance import git_commit
from training.scoring.result_files import load_results, save_report


def load_truth(
    records: Sequence[Record], *, instances: Path | None, entities: Path | None
) -> tuple[list[Record], Truth]:
    """Load what the photos show, with the records it covers.

    Raises:
        CaptionerError: a file cannot be read or covers none of the photos.
    """
    if entities is not None:
        return list(records), Truth(records, load_nouns(entities))
    if instances is None:
        return list(records), Truth(records, ObjectWords(OTHER_WORDS))
    found = read_instances(instances)
    covered = [record for record in records if found.of(record.image) is not None]
    if not covered:
        raise ConfigError(f"{instances} covers none of the {len(records)} captioned photos.")
    return covered, Truth(covered, ObjectWords(found.kinds), found)


def load_captioner(names: str, *, device: str) -> tuple[TorchCaptioner, list[str]]:
    """Load a checkpoint, or an ensemble joined by `+`, with the checkpoints' digests.

    Raises:
        CaptionerError: a checkpoint is missing or damaged.
    """
    paths = [find_checkpoint(name) for name in names.split("+")]
    members = [TorchCaptioner.load(path, device=device) for path in paths]
    return TorchCaptioner.ensemble(members), [file_digest(path) for path in paths]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m training.hallucination",
        description="Measure how often captions name things that are not in the photo.",
    )
    parser.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        metavar="NAME[+NAME]",
        help="a checkpoint, or an ensemble joined by +; repeat to compare several",
    )
    parser.add_argument(
        "--results",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="captions of any model, in COCO's results format; may be repeated",
    )
    parser.add_argument(
        "--instances", type=Path, help="COCO instances file, for COCO's objects (CHAIR)"
    )
    parser.add_argument("--entities", type=Path, help="Flickr30k Entities file, for all nouns")
    parser.add_argument(
        "--search",
        action="append",
        default=[],
        choices=("beam", "greedy"),
        help="decoding method; repeat to compare both (default: the checkpoint's)",
    )
    add_options(parser)
    parser.add_argument("--split", help="val, test, ...; all photos by default")
    parser.add_argument("--limit", type=positive, help="use only the first photos")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write the report to this file"
    )
    parser.add_argument(
        "--bootstrap",
        type=at_least(0),
        default=RESAMPLES,
        metavar="N",
        help=f"bootstrap resamples of the intervals ({RESAMPLES}); 0 omits them",
    )
    parser.add_argument("--seed", type=at_least(0), default=0, help="seed of the bootstrap (0)")
    args = parser.parse_args(argv)
    if not args.checkpoint and not args.results:
        parser.error("give --checkpoint or --results")
    if args.instances and args.entities:
        parser.error("give --instances or --entities, not both")
    try:
        if args.json:
            check_writable(args.json, option="--json")
        report = _measure(args)
        print(write_tables(report), file=sys.stderr)
        print(json.dumps(report))
        if args.json:
            save_report(args.json, report)
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _measure(args: argparse.Namespace) -> dict[str, Any]:
    records = load_records(args.annotations, split=args.split)[: args.limit]
    records, truth = load_truth(records, instances=args.instances, entities=args.entities)
    source = ImageSource(args.images)
    resampled: dict[str, Any] = {"resamples": args.bootstrap, "seed": args.seed}
    commit = git_commit()  # before hours pass
    models: list[dict[str, Any]] = []
    first: Judged | None = None
    for names in args.checkpoint:
        captioner, digests = load_captioner(names, device=args.device)
        for method in args.search or [captioner.header.search.method]:
            search = {"method": method} | given_search(args)
            agreement = search.pop("agreement", 0.0) if method == "beam" else 0.0
            for weight in dict.fromkeys((0.0, agreement)):
                changes = search | ({"agreement": weight} if weight else {})
                captions = caption_photos(captioner, records, source, search=changes)
                own, judged = measure_captions(captions, records, truth, first=first, **resampled)
                name = own["name"] + (f", agreement {weight:g}" if weight else "")
                models.append({**own, "name": name, "sha256": digests})
                first = first or judged
    for path in args.results:
        results = load_results(path)
        missing = [record.image for record in records if record.image_id not in results]
        if missing:
            raise ConfigError(
                f"{path} has no caption for {missing[0]} and {len(missing) - 1} more photos; "
                "caption all photos, or select them with --split and --limit."
            )
        texts = [results[record.image_id] for record in records]
        own, judged = measure_texts(str(path), texts, records, truth, first=first, **resampled)
        models.append({**own, "sha256": [file_digest(path)]})
        first = first or judged
    return {
        "annotations": args.annotations.name,
        "split": args.split,
        "known_by": str((args.instances or args.entities or args.annotations).name),
        "names": "nouns" if args.entities else "COCO objects",
        "images": len(records),
        "models": models,
        "people": measure_people(records, truth, **resampled),
        "commit": commit,
        **resampled,
    }


if __name__ == "__main__":
    sys.exit(main())
