"""Options that several commands take, and how commands complain."""

import argparse
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from captioner.config import SearchConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from captioner.checkpoint.header import Header
    from captioner.pipeline import Captioner

Subcommands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_model_options(parser: argparse.ArgumentParser, *, precision: str) -> None:
    """Add the choice of a model and of where it runs."""
    parser.add_argument(
        "--checkpoint",
        action="append",
        metavar="NAME|PATH|hf:OWNER/NAME",
        help="a model by name, see `captioner checkpoints`; a .safetensors file; or one on the "
        "Hugging Face hub, hf:OWNER/NAME or hf:OWNER/NAME@REVISION; given again, the models "
        "caption together, by the mean of their words' probabilities",
    )
    parser.add_argument(
        "--runtime",
        choices=("auto", "onnx", "torch"),
        default="auto",
        help="auto (the default): PyTorch where it is installed and there is a GPU or it alone can "
        "do what is asked, otherwise onnxruntime",
    )
    parser.add_argument(
        "--device", default="auto", help="auto (the default: a GPU if there is one), cpu, cuda, ..."
    )
    parser.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16", "float16", "int8"),
        default=precision,
        help="number format of the encoder: bfloat16 and float16 with PyTorch, int8 with "
        "onnxruntime; faster than float32, and now and then another word; auto takes the fastest "
        f"on this machine ({precision})",
    )


def add_conversion(
    commands: Subcommands, name: str, *, summary: str, description: str, epilog: str
) -> argparse.ArgumentParser:
    """Add a command that writes one checkpoint in another form, and return its parser."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="as for --checkpoint of `captioner caption`"
    )
    return parser


def find_models(args: argparse.Namespace) -> "tuple[list[Path], Header]":
    """Return the files of the checkpoints asked for, and what they say of themselves together."""
    from captioner.checkpoint.header import join_headers, read_header
    from captioner.checkpoint.shipped import DEFAULT, find_checkpoint

    checkpoints = [find_checkpoint(name) for name in args.checkpoint or [DEFAULT]]
    return checkpoints, join_headers([read_header(checkpoint) for checkpoint in checkpoints])


def load_captioner(args: argparse.Namespace, checkpoints: "Sequence[Path]") -> "Captioner":
    """Load the model as it was asked for."""
    from captioner.pipeline import Captioner

    return Captioner.load(
        *checkpoints, runtime=args.runtime, device=args.device, precision=args.precision
    )


def add_search_options(parser: argparse.ArgumentParser, *, listed: bool = True) -> None:
    """Add decoding settings.

    Args:
        parser: of the command.
        listed: whether `--help` explains each.
    """
    about = "What is left out, the checkpoint recommends."
    if not listed:
        about = "--search, --beam, --prompt and so on, as `captioner caption --help` lists them."
    search = parser.add_argument_group("search", about)

    def add(*names: str, help: str = "", **options: Any) -> None:  # as argparse's
        search.add_argument(*names, help=help if listed else argparse.SUPPRESS, **options)

    add("--search", dest="method", choices=("beam", "greedy", "sample"))
    add("--max-words", type=int, metavar="N", help="longest caption, in tokens")
    add("--beam", type=int, metavar="N", help="beam search: width")
    add(
        "--length-penalty",
        type=float,
        metavar="X",
        help="beam search: above 0 prefers longer captions",
    )
    add(
        "--groups",
        type=int,
        metavar="N",
        help="beam search: parts of the beam that look for captions unlike each other's",
    )
    add("--diversity", type=float, metavar="X", help="with --groups: how unlike (0.5)")
    add(
        "--agreement",
        type=float,
        metavar="X",
        help="beam search: prefer candidates whose rarer words others have, too, which invents "
        "less; such as 0.3 with --beam 10",
    )
    add("--temperature", type=float, metavar="X", help="sample: below 1 safer, above 1 bolder")
    add("--top-k", type=int, metavar="N", help="sample: keep the N likeliest words")
    add(
        "--top-p",
        type=float,
        metavar="X",
        help="sample: keep words that together have probability X",
    )
    add("--seed", type=int, metavar="N", help="sample: same seed, same caption")
    add(
        "--require",
        action="append",
        metavar="WORD",
        help="beam search: a word, or several, that the caption must have; can be given again",
    )
    add("--forbid", action="append", metavar="WORD", help="one that it must not have; the same")
    add("--no-repeat", type=int, metavar="N", help="say no run of N words twice; 0 lets all repeat")
    add("--no-end", action="append", metavar="WORD", help="do not end with this word; the same")
    add(
        "--prompt",
        metavar="TEXT",
        help='words given to the model before its own, such as "a picture of"; "" for none',
    )


def choose_search(header: "Header", args: argparse.Namespace) -> SearchConfig:
    """Change the checkpoint's recommendation where asked."""
    names = [setting.name for setting in fields(SearchConfig)]
    asked = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    return header.search_with(**asked)


def positive(text: str) -> int:
    """Read a number of things, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def fraction(text: str) -> float:
    """Read a number from 0 to 1, for argparse."""
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1")
    return number


def complain(error: Exception | str) -> None:
    """Say on standard error what is wrong."""
    print(f"captioner: {error}", file=sys.stderr, flush=True)
