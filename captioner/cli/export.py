"""`captioner export --onnx CHECKPOINT --output DIR`: a checkpoint for programs without PyTorch."""

import argparse
import sys
from pathlib import Path

from captioner.cli.options import Subcommands, add_checkpoint, add_command
from captioner.durable import check_writable
from captioner.errors import require_torch

_EPILOG = """\
Writes model.safetensors (the checkpoint), encoder.onnx (pixels -> features; encoder.int8.onnx in
eight bits), start.onnx (features -> state), step.onnx (word, state -> scores, attention, state),
evidence.onnx (what regions added to the words' scores) and captioner.json (names of tensors) into
DIR, which may be the checkpoint's own folder. `captioner caption PHOTO --checkpoint DIR` captions
with them; so does Captioner.load(DIR).

The graphs are compared with PyTorch before DIR is touched. Needs: pip install "captioner[export]"
"""


def add_parser(commands: Subcommands) -> None:
    """Add the command to the others."""
    parser = add_command(
        commands,
        "export",
        run,
        summary="export a checkpoint to ONNX, to caption without PyTorch",
        description="Export a checkpoint to ONNX.",
        epilog=_EPILOG,
    )
    add_checkpoint(parser)
    parser.add_argument(
        "--onnx", action="store_true", required=True, help="export to ONNX, the only format so far"
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder to write to"
    )


def run(args: argparse.Namespace) -> int:
    """Export, and tell how near it is to PyTorch."""
    from captioner.checkpoint.shipped import find_checkpoint

    check_writable(args.output, folder=True, option="--output")
    checkpoint = find_checkpoint(args.checkpoint)

    with require_torch():
        from captioner.onnx.export import export_onnx

    off = export_onnx(checkpoint, args.output)
    print(f"captioner: logits and attention differ from PyTorch by {off:.1e}", file=sys.stderr)
    print(args.output)
    return 0
