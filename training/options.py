"""Options that several commands take, and how they are read."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from captioner.cli.options import add_settings
from training.scoring.measures import RESAMPLES

SEARCH = (
    *("beam", "max_words", "length_penalty", "groups", "diversity", "agreement"),
    "no_repeat",
)
"""Settings of the search that commands take."""


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
    add_settings(parser, SEARCH)
    parser.add_argument("--device", default="auto", help="auto (the default), cpu, cuda, ...")


def given_search(args: argparse.Namespace) -> dict[str, Any]:
    """Return the settings of the search that were given; the checkpoint recommends the rest."""
    given = {name: getattr(args, name, None) for name in ("method", *SEARCH)}
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
