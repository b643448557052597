"""Options that several commands take, and how commands report errors."""

import argparse
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import fields
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args, get_origin, get_type_hints

from captioner.config import AttentionConfig, SearchConfig
from captioner.errors import CaptionerError, ConfigError
from captioner.runtimes import PRECISIONS, RUNTIMES
from captioner.schema import explain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from captioner.checkpoint.header import Header
    from captioner.pipeline import Captioner

_SETTING = re.compile(
    r"(?<![\w./])(?:(search|attention)\.|(?<=while )|(?<=or set ))"
    rf"({'|'.join(known.name for known in (*fields(SearchConfig), *fields(AttentionConfig)))})\b"
)
"""A decoding or attention setting, as errors name it."""

Subcommands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_command(
    commands: Subcommands,
    name: str,
    run: Callable[[argparse.Namespace], int],
    *,
    summary: str,
    description: str,
    epilog: str | None = None,
) -> argparse.ArgumentParser:
    """Add a command to the others, and return its parser; an epilog is shown as it stands."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter if epilog else argparse.HelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    return parser


def add_model_options(parser: argparse.ArgumentParser, *, precision: str) -> None:
    """Add the choice of a model and of where it runs."""
    parser.add_argument(
        "--checkpoint",
        action="append",
        metavar="NAME|PATH|hf:OWNER/NAME",
        help="name of a model (see `captioner checkpoints`), .safetensors file, or model on the "
        "Hugging Face hub: hf:OWNER/NAME or hf:OWNER/NAME@REVISION; repeat for an ensemble, which "
        "averages the probabilities of its members",
    )
    parser.add_argument(
        "--runtime",
        choices=("auto", *sorted(RUNTIMES)),
        default="auto",
        help="auto (the default): onnxruntime, or PyTorch if it is installed and there is a GPU or "
        "the other options need it",
    )
    parser.add_argument(
        "--device", default="auto", help="auto (the default: a GPU if there is one), cpu, cuda, ..."
    )
    parser.add_argument(
        "--precision",
        choices=list(dict.fromkeys(chain(*PRECISIONS.values()))),
        default=precision,
        help="number format of the encoder: bfloat16 and float16 with PyTorch, int8 with "
        "onnxruntime; all are faster than float32 and change some captions; auto chooses for this "
        f"machine, but never int8 (default: {precision})",
    )


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Add the checkpoint that a command converts or publishes."""
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="as for --checkpoint of `captioner caption`"
    )


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
    about = "Defaults come from the checkpoint. (beam) and (sample): with this --search only."
    if not listed:
        about = "--search, --beam, --prompt and so on, as `captioner caption --help` lists them."
    search = parser.add_argument_group("decoding", about)
    add_settings(search, (setting.name for setting in fields(SearchConfig)), listed=listed)


def add_settings(
    parser: "argparse._ActionsContainer", names: Iterable[str], *, listed: bool = True
) -> None:
    """Add options for these decoding settings, with the explanations of their fields."""
    known, kinds = {f.name: f for f in fields(SearchConfig)}, get_type_hints(SearchConfig)
    for name in names:
        method = known[name].metadata.get("needs", {}).get("method")
        text = explain_option(SearchConfig, name)
        how: dict[str, Any] = {"help": f"({method}) {text}" if method else text}
        kind, choices = get_origin(kinds[name]) or kinds[name], get_args(kinds[name])
        if kind is Literal:
            how |= {"choices": choices}
        elif kind is tuple:
            how |= {"action": "append", "metavar": "WORD"}
            how["help"] += "; repeatable"
        else:
            how |= {"type": kind, "metavar": {int: "N", float: "X", str: "TEXT"}[kind]}
        if not listed:
            how["help"] = argparse.SUPPRESS
        flag = "search" if name == "method" else name.replace("_", "-")
        parser.add_argument(f"--{flag}", dest=name, **how)


def explain_option(settings: type, name: str) -> str:
    """Return the explanation of a setting as the help of an option."""
    text = explain(settings)[name].replace("%", "%%").removesuffix(".")
    return text[0].lower() + text[1:]


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


def above_zero(text: str) -> float:
    """Read an amount of something, for argparse."""
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def fraction(text: str) -> float:
    """Read a number from 0 to 1, for argparse."""
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1")
    return number


def in_options(error: CaptionerError) -> str:
    """Return what an error says, with settings named as options: --beam for `search.beam`."""
    if not isinstance(error, ConfigError):
        return str(error)  # such as the settings that a file holds

    def option(found: re.Match[str]) -> str:
        name = (found[1] or "search") if found[2] == "method" else found[2]
        return f"--{name.replace('_', '-')}"

    return re.sub(r'(--[a-z-]+) = "?(\w+)"?', r"\1 \2", _SETTING.sub(option, str(error)))


def print_error(error: Exception | str) -> None:
    """Say on standard error what is wrong."""
    print(f"captioner: {error}", file=sys.stderr, flush=True)
