"""`captioner convert CHECKPOINT --output FILE`: a captioner that others trained, as one of ours."""

import argparse
from pathlib import Path

from captioner.cli.options import Subcommands, add_checkpoint, add_command
from captioner.durable import check_writable
from captioner.errors import CaptionerError, require_torch

_EPILOG = """\
FILE holds weights, settings and vocabulary, and works without the hub wherever a checkpoint is
expected: in every command, and as start_from in training.

CHECKPOINT is a name from `captioner checkpoints`, hf:OWNER/NAME, or a folder written by
`save_pretrained`. The author's licence continues to apply.
"""


def add_parser(commands: Subcommands) -> None:
    """Add the command to the others."""
    parser = add_command(
        commands,
        "convert",
        run,
        summary="convert a pretrained captioner to one checkpoint file",
        description="Convert a pretrained captioner to one checkpoint file.",
        epilog=_EPILOG,
    )
    add_checkpoint(parser)
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="the .safetensors file"
    )
    parser.add_argument(
        "--half", action="store_true", help="store matrices in 16 bits: half the size"
    )


def run(args: argparse.Namespace) -> int:
    """Convert, and print where it is."""
    from captioner.checkpoint.shipped import find_checkpoint

    if args.output.suffix != ".safetensors":
        raise CaptionerError(f"{args.output}: give a file that ends in .safetensors.")
    check_writable(args.output, option="--output")
    checkpoint = find_checkpoint(args.checkpoint)

    with require_torch():
        from captioner.checkpoint.weights import load_checkpoint, save_checkpoint

    model, header = load_checkpoint(checkpoint)
    save_checkpoint(args.output, model, header, half=args.half)
    print(args.output)
    return 0
