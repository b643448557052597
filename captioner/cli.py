"""The `captioner` command: parse, call, print.

Results go to standard output, everything else to standard error. Exit status: 0 all is well, 1 a
photo could not be captioned (the others were), 2 the command makes no sense, 130 interrupted.
PyTorch is imported only once there is a photo to caption, so everything else answers at once.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captioner import __version__
from captioner.config import SearchConfig
from captioner.errors import CaptionerError, ImageError

if TYPE_CHECKING:
    from captioner.caption import Caption
    from captioner.header import Header
    from captioner.overlay import Format
    from captioner.pipeline import Captioner, Prepared

_ONLY_FOR = {
    "beam": "beam",
    "length_penalty": "beam",
    "temperature": "sample",
    "top_k": "sample",
    "top_p": "sample",
    "seed": "sample",
}
"""Settings of the search that would do nothing with another method."""

_OVERLAY_PIXELS = (1920, 1920)
"""Height and width that a photo under an overlay is not reduced below, if it is larger."""

_CAPTION_EPILOG = """\
Standard output holds the caption of a single photo, or for several photos one line each:
PATH, a tab, the caption. With --json it is one JSON object a line:
  {"image", "caption", "log_probability", "words": [{"word", "probability",
   "attention": {"grid": [rows, columns], "weights": [[...], ...]}}], "checkpoint", "search"}

Exit status: 0 all photos are captioned, 1 some could not be read (standard error names them, the
others are captioned), 2 the command makes no sense, 130 interrupted.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    args = _parser().parse_args(argv)
    if isinstance(sys.stdout, TextIOWrapper):  # a file's name may be no text, and still be printed
        unicode = sys.stdout.encoding.lower() == "utf-8"
        sys.stdout.reconfigure(errors="surrogateescape" if unicode else "backslashreplace")
    try:
        status: int = args.run(args)
        sys.stdout.flush()
    except CaptionerError as error:
        _complain(error)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # nobody reads on, as in `captioner ... | head`
        # Python flushes once more at exit, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141  # what the shell reports of a program ended by SIGPIPE
    return status


def run_caption(args: argparse.Namespace) -> int:
    """Caption photos in order, a batch at a time; what cannot be read is named and passed over."""
    from captioner.header import read_header
    from captioner.shipped import DEFAULT, find_checkpoint

    checkpoint = find_checkpoint(args.checkpoint or DEFAULT)
    search = _choose_search(read_header(checkpoint), args)

    from captioner.pipeline import Captioner

    captioner = Captioner.load(checkpoint, device=args.device)
    batch: list[Prepared] = []
    status = 0
    for left, photo in zip(reversed(range(len(args.photos))), args.photos, strict=True):
        try:
            batch.append(_prepare(captioner, photo))
        except ImageError as error:
            _complain(error)
            status = 1
        if batch and (len(batch) == args.batch_size or not left):
            for caption in captioner.caption_batch(batch, search=search):
                print(_format(caption, args), flush=True)
                if args.overlay:
                    _draw(caption, args.overlay, kind=args.format)
            batch = []
    return status


def run_checkpoints(args: argparse.Namespace) -> int:
    """List the checkpoints that can be asked for by name."""
    from captioner.shipped import list_checkpoints

    found = list_checkpoints()
    if args.json:
        names = ("name", "decoder", "encoder", "parameters", "scores")
        print(json.dumps([{name: getattr(info, name) for name in names} for info in found]))
        return 0
    if not found:
        print("captioner: this copy holds no checkpoints.", file=sys.stderr)
    for info in found:
        millions = f"{info.parameters / 1e6:.1f} M parameters"
        print(f"{info.name}: {info.decoder} on {info.encoder}, {millions}")
        for name, result in info.scores.items():
            print(f"    {name}: {_format_result(result)}")
    return 0


def _choose_search(header: "Header", args: argparse.Namespace) -> SearchConfig:
    """Change the checkpoint's recommendation where asked; point out what does nothing."""
    names = ("method", "max_words", *_ONLY_FOR)
    asked = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    search = header.search_with(**asked)
    for name, method in _ONLY_FOR.items():
        if name in asked and search.method != method:
            flag = f"--{name.replace('_', '-')}"
            print(
                f"captioner: {flag} does nothing in {search.method} search; "
                f"it is for --search {method}.",
                file=sys.stderr,
            )
    return search


def _prepare(captioner: "Captioner", photo: str) -> "Prepared":
    """Read a photo; a folder is told from other things that are none."""
    path = Path(photo)
    if path.is_dir():
        if os.access(path, os.R_OK) and not any(path.iterdir()):
            raise ImageError(f"{photo}: an empty folder; name a photo.")
        raise ImageError(
            f"{photo}: a folder, not a photo; name the photos in it, as in {path / '*.jpg'}"
        )
    return captioner.prepare(photo)


def _draw(caption: "Caption", folder: Path, *, kind: "Format") -> None:
    """Write the overlays of a caption to `folder`, under the photo's name."""
    from captioner.overlay import diagnose, render
    from captioner.photo import load_reduced

    assert caption.image is not None  # the command line names photos by their paths
    photo, _ = load_reduced(caption.image, at_least=_OVERLAY_PIXELS)
    target = folder / f"{Path(caption.image).name}.{kind}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        target.write_bytes(render(photo, caption, kind=kind))
    except OSError as error:
        raise CaptionerError(f"{target}: cannot be written: {error.strerror}.") from error
    for warning in diagnose(caption.words):
        print(f"captioner: {caption.image}: {warning}", file=sys.stderr)


def _format(caption: "Caption", args: argparse.Namespace) -> str:
    if args.json:
        return json.dumps(caption.to_dict())
    return caption.text if len(args.photos) == 1 else f"{caption.image}\t{caption.text}"


def _format_result(result: Any) -> str:
    """Show the numbers of a result, briefly; the JSON has all of it."""
    if not isinstance(result, dict):
        return str(result)
    numbers = result.get("scores", result)
    return ", ".join(
        f"{name} {value:.3f}" if isinstance(value, float) else f"{name} {value}"
        for name, value in numbers.items()
    )


def _complain(error: Exception) -> None:
    print(f"captioner: {error}", file=sys.stderr, flush=True)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="captioner",
        description="Photos into sentences, and where the model looked for every word.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"captioner {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_caption(commands)
    checkpoints = commands.add_parser(
        "checkpoints",
        help="list the models that can be asked for by name",
        description="List the models that can be asked for by name, the default one first.",
        allow_abbrev=False,
    )
    checkpoints.add_argument("--json", action="store_true", help="print one JSON list")
    checkpoints.set_defaults(run=run_checkpoints)
    return parser


def _add_caption(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    caption = commands.add_parser(
        "caption",
        help="caption photos",
        description="Caption photos.",
        epilog=_CAPTION_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    caption.set_defaults(run=run_caption)
    caption.add_argument("photos", nargs="+", metavar="PHOTO", help="an image file")
    caption.add_argument(
        "--json", action="store_true", help="print words, probabilities and attention as JSON"
    )
    caption.add_argument(
        "--checkpoint",
        metavar="NAME|PATH",
        help="a model by name, see `captioner checkpoints`, or a .safetensors file",
    )
    caption.add_argument(
        "--device", default="auto", help="auto (the default: a GPU if there is one), cpu, cuda, ..."
    )
    caption.add_argument(
        "--batch-size",
        type=_positive,
        default=8,
        metavar="N",
        help="photos captioned at once (8); less needs less memory",
    )
    caption.add_argument(
        "--overlay", type=Path, metavar="DIR", help="draw where the model looked, a file a photo"
    )
    caption.add_argument(
        "--format",
        choices=("png", "gif", "webp", "html"),
        default="png",
        help="of the overlay: a sheet (png, the default), an animation, or a page to click through",
    )
    search = caption.add_argument_group("search", "What is left out, the checkpoint recommends.")
    search.add_argument("--search", dest="method", choices=("beam", "greedy", "sample"))
    search.add_argument("--max-words", type=int, metavar="N", help="longest caption, in tokens")
    search.add_argument("--beam", type=int, metavar="N", help="captions beam search keeps in play")
    search.add_argument(
        "--length-penalty",
        type=float,
        metavar="X",
        help="beam search: above 0 prefers longer captions",
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
