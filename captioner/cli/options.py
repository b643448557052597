"""Options that several commands take, and how commands complain."""

import argparse
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

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


def add_search_options(parser: argparse.ArgumentParser) -> None:
    """Add how a caption is looked for."""
    search = parser.add_argument_group("search", "What is left out, the checkpoint recommends.")
    search.add_argument("--search", dest="method", choices=("beam", "greedy", "sample"))
    search.add_argument("--max-words", type=int, metavar="N", help="longest caption, in tokens")
    search.add_argument("--beam", type=int, metavar="N", help="beam search: width")
    search.add_argument(
        "--length-penalty",
        type=float,
        metavar="X",
        help="beam search: above 0 prefers longer captions",
    )
    search.add_argument(
        "--groups",
        type=int,
        metavar="N",
        help="beam search: parts of the beam that look for captions unlike each other's",
    )
    search.add_argument(
        "--diversity", type=float, metavar="X", help="with --groups: how unlike (0.5)"
    )
    search.add_argument(
        "--agreement",
        type=float,
        metavar="X",
        help="beam search: prefer candidates whose rarer words others have, too, which invents "
        "less; such as 0.3 with --beam 10",
    )
    search.add_argument(
        "--temperature", type=float, metavar="X", help="sample: below 1 safer, above 1 bolder"
    )
    search.add_argument("--top-k", type=int, metavar="N", help="sample: keep the N likeliest words")
    search.add_argument(
        "--top-p",
        type=float,
        metavar="X",
        help="sample: keep words that together have probability X",
    )
    search.add_argument("--seed", type=int, metavar="N", help="sample: same seed, same caption")
    search.add_argument(
        "--require",
        action="append",
        metavar="WORD",
        help="beam search: a word, or several, that the caption must have; can be given again",
    )
    search.add_argument(
        "--forbid", action="append", metavar="WORD", help="one that it must not have; the same"
    )
    search.add_argument(
        "--no-repeat", type=int, metavar="N", help="say no run of N words twice; 0 lets all repeat"
    )
    search.add_argument(
        "--no-end", action="append", metavar="WORD", help="do not end with this word; the same"
    )
    search.add_argument(
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
