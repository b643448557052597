"""Command-line options shared by several commands."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from captioner.cli.options import add_settings
from training.scoring.measures import RESAMPLES

SEARCH = (
    *("beam", "max_words", "length_penalty", "groups", "diversity", "agreement"),
    "no_repeat",
)
"""Decoding settings that commands take as options."""


Number = TypeVar("Number", int, float)


def at_least(least: Number) -> Callable[[str], Number]:
    """Return an argparse type for numbers of the same type that are not below this one."""

    def number(text: str) -> Number:
        given = type(least)(text)
        if not given >= least:  # NaN is not
            raise argparse.ArgumentTypeError(f"{text} is too small; it must be {least:g} or more")
        return given

    return number


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command that captions a split."""
    parser.add_argument("--annotations", required=True, type=Path, help="human captions")
    parser.add_argument("--images", required=True, nargs="+", help="folders or tar archives")
    add_settings(parser, SEARCH)
    parser.add_argument("--device", default="auto", help="auto (the default), cpu, cuda, ...")


def given_search(args: argparse.Namespace) -> dict[str, Any]:
    """Return the decoding settings that were given; the checkpoint has defaults for the rest."""
    given = {name: getattr(args, name, None) for name in ("method", *SEARCH)}
    return {name: value for name, value in given.items() if value is not None}


def add_report_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of every command that scores captions."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="also save the report here")
    parser.add_argument(
        "--bootstrap",
        type=at_least(0),
        default=RESAMPLES,
        metavar="N",
        help=f"bootstrap resamples of the intervals ({RESAMPLES}); 0 omits them",
    )
    parser.add_argument(
        "--training-captions",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="caption files whose split train the model was trained on, to measure novelty",
    )
    parser.add_argument("--seed", type=at_least(0), default=0, help="seed of random choices (0)")
