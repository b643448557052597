"""Options that several commands take, and how they are read."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from training.scoring.measures import RESAMPLES


def at_least(least: int) -> Callable[[str], int]:
    """Make a reader of whole numbers from this one on."""

    def count(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is too small; it must be {least} or more")
        return int(text)

    return count


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what every command that captions a split asks for."""
    parser.add_argument("--annotations", required=True, type=Path, help="captions, any format")
    parser.add_argument("--images", required=True, nargs="+", help="folders or tar archives")
    parser.add_argument("--beam", type=int, help="width of beam search")
    parser.add_argument("--max-words", type=int, help="longest caption, in tokens")
    parser.add_argument("--length-penalty", type=float, help="above 0 favours longer captions")
    parser.add_argument("--groups", type=int, help="parts of the beam, for diverse beam search")
    parser.add_argument("--diversity", type=float, help="how unlike the groups are to be")
    parser.add_argument("--agreement", type=float, help="weight of what candidates agree on")
    parser.add_argument("--no-repeat", type=int, help="say no run of so many words twice")
    parser.add_argument("--device", default="auto", help="auto (the default), cpu, cuda, ...")


def given_search(args: argparse.Namespace) -> dict[str, Any]:
    """Return the settings of the search that were given; the checkpoint recommends the rest."""
    lengths = ("max_words", "length_penalty")
    names = ("method", "beam", *lengths, "groups", "diversity", "agreement", "no_repeat")
    given = {name: getattr(args, name, None) for name in names}
    return {name: value for name, value in given.items() if value is not None}


def add_report_options(parser: argparse.ArgumentParser) -> None:
    """Add what every command that scores captions asks for."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report here, too")
    parser.add_argument(
        "--bootstrap",
        type=at_least(0),
        default=RESAMPLES,
        metavar="N",
        help=f"draws of images for the intervals ({RESAMPLES}); 0 leaves them out",
    )
    parser.add_argument(
        "--training-captions",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="what the captions' author has learned from (the split train of it), for novelty",
    )
    parser.add_argument("--seed", type=int, default=0, help="of all draws (0)")
