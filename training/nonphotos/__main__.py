"""The command `python -m training.nonphotos`."""

import argparse
import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image

from captioner.cli.options import positive
from captioner.errors import CaptionerError
from training.nonphotos.drawing import KINDS, draw_nonphoto
from training.scoring.result_files import write_bytes


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m training.nonphotos",
        description="Write generated images that are not photos, as kind-number.png or .jpg.",
    )
    parser.add_argument("folder", type=Path, help="folder to write to")
    parser.add_argument("--count", type=positive, default=10, help="images per kind (10)")
    args = parser.parse_args(argv)
    try:
        for kind in KINDS:
            for number in range(args.count):
                content = draw_nonphoto(kind, number)
                suffix = {"PNG": "png", "JPEG": "jpg"}[str(Image.open(BytesIO(content)).format)]
                write_bytes(args.folder / f"{kind}-{number}.{suffix}", content, what="Image")
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
