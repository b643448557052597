"""`--for PURPOSE`: options that most people want together."""

import argparse
import sys
from pathlib import Path
from typing import Any

from captioner.errors import CaptionerError

PRESETS: dict[str, dict[str, Any]] = {
    "photos": {
        "in_place": True,
        "sidecar": ["xmp"],
        "existing": "own",
        "skip_non_photos": True,
    },
    "alt-text": {
        "in_place": True,
        "alt_text": "only",
        "existing": "own",
        "skip_non_photos": True,
    },
    "lora": {"sidecar": ["txt"], "existing": "own"},
    "dataset": {"output": ["metadata.jsonl"]},
}
"""What each stands for, as the parser names the options; docs/folders.md says why."""


def apply_preset(args: argparse.Namespace) -> None:
    """Take the options of `--for` where none are given, and print them.

    Raises:
        CaptionerError: one of them needs something else.
    """
    if args.purpose is None:
        return
    said = []
    for name, value in PRESETS[args.purpose].items():
        if getattr(args, name) not in (None, []):
            continue  # the single option wins
        if name == "output":
            if args.folder in (None, "-"):
                raise CaptionerError("--for dataset makes a folder a data set; give the folder.")
            value = [Path(args.folder, *value)]  # noqa: PLW2901
        setattr(args, name, value)
        option = f"--{name.replace('_', '-')}"
        values = value if isinstance(value, list) else [value]
        said += [option if one is True else f"{option} {one}" for one in values]
    if args.log == "text" and not args.quiet:
        print(f"captioner: --for {args.purpose}: {' '.join(said)}", file=sys.stderr)
