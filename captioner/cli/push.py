"""`captioner push CHECKPOINT OWNER/NAME`: a checkpoint for everybody, on the hub."""

import argparse
from pathlib import Path

from captioner.cli.options import Subcommands, add_checkpoint, add_command

_EPILOG = """\
Uploads model.safetensors, the graphs that `captioner export` wrote beside it, and a model card: the
README.md beside the checkpoint, with the scores, settings and data of its header as metadata.
Anyone can then use it as hf:OWNER/NAME:
  captioner caption photo.jpg --checkpoint hf:OWNER/NAME

Log in first: `hf auth login`, or HF_TOKEN. Needs: pip install "captioner[hub]"
"""


def add_parser(commands: Subcommands) -> None:
    """Add the command to the others."""
    parser = add_command(
        commands,
        "push",
        run,
        summary="upload a checkpoint with its card to the Hugging Face hub",
        description="Upload a checkpoint with its card to the Hugging Face hub.",
        epilog=_EPILOG,
    )
    add_checkpoint(parser)
    parser.add_argument(
        "repo", metavar="OWNER/NAME", help="repository; created if it does not exist"
    )
    parser.add_argument("--private", action="store_true", help="make the repository private")
    parser.add_argument(
        "--dry-run",
        type=Path,
        metavar="DIR",
        help="write the files to DIR instead of uploading them",
    )
    card = parser.add_argument_group(
        "the card", "Metadata instead of that of README.md and header."
    )
    card.add_argument("--license", metavar="ID", help="such as apache-2.0")
    card.add_argument("--language", metavar="CODE", help="language of the captions, such as en")
    card.add_argument(
        "--dataset",
        action="append",
        default=[],
        metavar="NAME",
        help="data set it was trained on (default: the names of its annotation files); repeatable",
    )
    card.add_argument(
        "--base-model",
        metavar="NAME",
        help="pretrained encoder (default: the one that training downloaded through timm)",
    )


def run(args: argparse.Namespace) -> int:
    """Push, or write what would be pushed; print where it is."""
    from captioner.checkpoint.hub.card import Facts
    from captioner.checkpoint.hub.push import push, write_folder
    from captioner.checkpoint.shipped import find_checkpoint

    checkpoint = find_checkpoint(args.checkpoint)
    facts = Facts(
        licence=args.license,
        language=args.language,
        datasets=tuple(args.dataset),
        base_model=args.base_model,
    )
    if args.dry_run is not None:
        write_folder(checkpoint, args.repo, args.dry_run, facts=facts)
        print(args.dry_run)
        return 0
    print(push(checkpoint, args.repo, facts=facts, private=args.private))
    return 0
