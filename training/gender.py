"""Gender in captions: how often they name one, and which, compared with the references.

    python -m training.gender ANNOTATIONS RESULTS [--split S]

Following Hendricks et al. 2018 (Women Also Snowboard, arXiv:1803.09797), a photo shows men or women
if at least two of its references say so and none says otherwise; on those photos, captions name the
same gender, the other, or neither. ANNOTATIONS is any file that `data.coco` reads, RESULTS captions
in COCO's results format, such as `checkpoints/NAME/test_captions.json`. The table goes to standard
output, with a row for each scene type found in the references.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from captioner.errors import CaptionerError
from data.coco import Record, load_records
from training.metrics.ptb import split_words
from training.scoring.result_files import load_results

WORDS = {
    "men": "man men boy boys guy guys male males gentleman father son brother",
    "women": "woman women girl girls lady ladies female females mother daughter sister",
}
GENDERS = {gender: frozenset(words.split()) for gender, words in WORDS.items()}
MARKS = {
    "ball games": "ball football soccer basketball baseball tennis hockey",
    "boards, bikes, climbing": "skateboard skateboarder skateboarding bike bicycle motorcycle "
    "climbing climber",
    "snow": "snow snowy ski skiing skier snowboard snowboarder snowboarding",
    "water": "water pool beach ocean wave surfer surfing swimming lake river",
    "streets": "street sidewalk city road building store",
    "portraits": "camera posing smiling smiles wearing glasses hat dress",
}
KINDS = {kind: frozenset(words.split()) for kind, words in MARKS.items()}
"""Scene types: a photo is of a type if at least two of its references contain one of its words."""


def name_gender(caption: str) -> str | None:
    """Return the gender in `GENDERS` that a caption names, or `both`; None if it names neither."""
    words = set(split_words(caption))
    named = [gender for gender, own in GENDERS.items() if words & own]
    return "both" if len(named) == 2 else next(iter(named), None)


def find_gender(references: Sequence[str]) -> str | None:
    """Return the gender that at least two references name; None if they disagree."""
    named = Counter(filter(None, map(name_gender, references)))
    return next(iter(named)) if len(named) == 1 and named.total() >= 2 else None


def count_genders(
    records: Sequence[Record], captions: Mapping[int, str]
) -> dict[tuple[str, str], Counter[str]]:
    """Count the genders that captions name on photos with a known gender.

    Args:
        records: photos with human captions.
        captions: by image id; photos without a caption are skipped.

    Returns:
        By scene type and gender, how many captions name the `same`, the `other` or `neither`; a
        caption that names both counts as `neither`.
    """
    counts: dict[tuple[str, str], Counter[str]] = {}
    for record in records:
        gender = find_gender(record.captions)
        if gender not in GENDERS or record.image_id not in captions:
            continue
        said = name_gender(captions[record.image_id])
        answer = "same" if said == gender else "other" if said in GENDERS else "neither"
        words = [set(split_words(caption)) for caption in record.captions]
        own = [kind for kind, marks in KINDS.items() if sum(bool(w & marks) for w in words) >= 2]
        for kind in ["all photos", *own]:
            counts.setdefault((kind, gender), Counter())[answer] += 1
    return counts


def tabulate_genders(counts: Mapping[tuple[str, str], Counter[str]]) -> str:
    """Format the counts as a Markdown table, in per cent of each row's photos."""
    lines = ["| kind of photo | people see | photos | same | other | neither |", "| --- " * 6 + "|"]
    for kind in ["all photos", *KINDS]:
        for gender in GENDERS:
            if found := counts.get((kind, gender)):
                total = found.total()
                shares = [f"{100 * found[a] / total:.0f}" for a in ("same", "other", "neither")]
                lines.append(f"| {kind} | {gender} | {total} | {' | '.join(shares)} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m training.gender",
        description="Compare the genders that captions name with those in the references.",
    )
    parser.add_argument("annotations", type=Path, help="human captions, any supported format")
    parser.add_argument("results", type=Path, help="captions in COCO's results format")
    parser.add_argument("--split", help="val, test, ...; all photos by default")
    args = parser.parse_args(argv)
    try:
        records = load_records(args.annotations, split=args.split)
        print(tabulate_genders(count_genders(records, load_results(args.results))))
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
