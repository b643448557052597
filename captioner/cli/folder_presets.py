"""`--for PURPOSE`: presets of options for common uses."""

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
"""Option values of each preset; docs/folders.md explains them."""


def apply_preset(args: argparse.Namespace) -> None:
    """Set the options of `--for` that were not given, and print them.

    Raises:
        CaptionerError: a preset needs a folder.
    """
    if args.purpose is None:
        return
    said = []
    for name, value in PRESETS[args.purpose].items():
        if getattr(args, name) not in (None, []):
            continue  # explicit options take precedence
        if name == "output":
            if args.folder in (None, "-"):
                raise CaptionerError("--for dataset needs a folder.")
            value = [Path(args.folder, *value)]  # noqa: PLW2901
        setattr(args, name, value)
        option = f"--{name.replace('_', '-')}"
        values = value if isinstance(value, list) else [value]
        said += [option if one is True else f"{option} {one}" for one in values]
    if args.log == "text" and not args.quiet:
        print(f"captioner: --for {args.purpose}: {' '.join(said)}", file=sys.stderr)
