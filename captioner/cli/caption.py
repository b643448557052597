"""`captioner caption PHOTO...`: a sentence for each photo."""

import argparse
import json
import os
import re
import sys
from dataclasses import replace
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from captioner.cli.options import (
    Subcommands,
    add_command,
    add_model_options,
    add_search_options,
    choose_search,
    explain_option,
    find_models,
    load_captioner,
    positive,
    print_error,
)
from captioner.cli.overlay_paths import overlay_paths
from captioner.config import AttentionConfig, AttentionMethod
from captioner.durable import explained
from captioner.errors import ConfigError, ImageError
from captioner.interchange import portable

if TYPE_CHECKING:
    from captioner.config import SearchConfig
    from captioner.photo.framing import Prepared
    from captioner.pipeline import Captioner
    from captioner.result.caption import Caption

_OVERLAY_PIXELS = (1920, 1920)
"""Height and width that a photo under an overlay is not reduced below, if it is larger."""

_PATTERN = re.compile(r"[*?[]")

_EPILOG = """\
Standard output is the caption of a single photo; for several photos, one line each:
PATH, a tab, the caption. With --json, one JSON object per line:
  {"image", "caption", "log_probability", "confidence", "level", "photo_probability", "is_photo",
   "words": [{"word", "probability", "doubtful", "gate", "entropy",
   "attention": {"grid": [rows, columns], "weights": [[...], ...]}}],
   "view", "checkpoint", "search"}
confidence: expected quality of the caption; 1 is as good as people's. level: low, medium or high.
is_photo: false for images the model knows nothing about, such as documents and drawings; their
captions end in "(not a photo?)". All of these are null if the checkpoint does not provide them.
gate: the LSTM's gate (beta), 0 to 1; null for a Transformer.
entropy: 0 if all attention is on one region, 1 if it is uniform. A warning on standard error says
where attention is nearly uniform, or the same for every word.

Exit status: 0 all photos captioned, 1 some could not be read (named on standard error; the others
are captioned), 2 invalid command, 130 interrupted.
"""


def add_parser(commands: Subcommands) -> None:
    """Add the command to the others."""
    parser = add_command(
        commands,
        "caption",
        run,
        summary="caption photos",
        description="Caption photos.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "photos",
        nargs="+",
        metavar="PHOTO",
        help="an image file, a pattern such as '*.jpg', or s3://BUCKET/KEY",
    )
    parser.add_argument(
        "--json", action="store_true", help="print words, probabilities and attention as JSON"
    )
    add_model_options(parser, precision="float32")
    parser.add_argument(
        "--batch-size",
        type=positive,
        default=8,
        metavar="N",
        help="photos per batch (8); fewer need less memory",
    )
    parser.add_argument(
        "--overlay",
        type=Path,
        metavar="DIR",
        help="draw attention maps, one file per photo (DIR/photo.jpg.png)",
    )
    parser.add_argument(
        "--format",
        choices=("png", "gif", "webp", "html"),
        help="of the overlay: contact sheet (png, the default), animation, or clickable page",
    )
    _add_view_options(parser)
    add_search_options(parser)


def _add_view_options(parser: argparse.ArgumentParser) -> None:
    """Add which of the model's attention is shown."""
    view = parser.add_argument_group("attention", "The maps that overlays and JSON contain.")
    view.add_argument(
        "--attention",
        choices=get_args(AttentionMethod),
        help=f"{explain_option(AttentionConfig, 'method')}. The default comes from the checkpoint.",
    )
    for name in ("layer", "head"):
        text = explain_option(AttentionConfig, name)
        view.add_argument(f"--{name}", type=int, metavar="N", help=text)
    view.add_argument(
        "--style",
        choices=("heat", "spotlight"),
        help="heat map (the default), or spotlight: dim what was not attended to",
    )
    view.add_argument(
        "--scale",
        choices=("word", "caption"),
        help="scale each word to its own maximum (the default), or to the caption's",
    )


def run(args: argparse.Namespace) -> int:
    """Caption photos in order, a batch at a time; what cannot be read is named and passed over."""
    asked = {"method": args.attention, "layer": args.layer, "head": args.head}
    asked = {name: value for name, value in asked.items() if value is not None}
    AttentionConfig(**asked)  # what makes no sense is refused before a model is loaded
    _check_shown(args)
    args.format = args.format or "png"
    args.photos = [path for photo in args.photos for path in _expand(photo)]
    captioner, search = _load(args)
    view = captioner.header.view_with(**asked)
    if view.method == "gradient":
        captioner = captioner.with_gradients()
    overlays = overlay_paths(args.photos, args.overlay, kind=args.format) if args.overlay else {}
    batch: list[Prepared] = []
    status = 0
    for left, photo in zip(reversed(range(len(args.photos))), args.photos, strict=True):
        try:
            batch.append(_prepare(captioner, photo))
        except ImageError as error:
            print_error(error)
            status = 1
        if batch and (len(batch) == args.batch_size or not left):
            for found in captioner.caption_batch(batch, search=search):
                caption = found.with_view(view)
                print(_format(caption, args), flush=True)
                if args.overlay:
                    assert caption.image is not None  # photos are named by paths
                    _draw(caption, overlays[caption.image], args)
                if args.overlay or args.json:
                    _warn(caption, drawn=bool(args.overlay) and args.format != "html")
            batch = []
    return status


def _check_shown(args: argparse.Namespace) -> None:
    """Reject options about overlays where none are drawn, and about maps that nobody sees."""
    for name in ("format", "style", "scale", "attention", "layer", "head"):
        seen = args.overlay or (args.json and name in ("attention", "layer", "head"))
        if getattr(args, name) is not None and not seen:
            needed = "--overlay" if name in ("format", "style", "scale") else "--overlay or --json"
            raise ConfigError(f"--{name} has no effect without {needed}; leave it out.")


def _expand(photo: str) -> list[str]:
    """Take a pattern such as `*.jpg` for the files it fits, where the shell has not done so."""
    if "://" in photo or os.path.lexists(photo) or not _PATTERN.search(photo):
        return [photo]
    return sorted(glob(photo, recursive=True)) or [photo]


def _load(args: argparse.Namespace) -> "tuple[Captioner, SearchConfig]":
    """Load a checkpoint, or several, and choose decoding settings."""
    checkpoints, header = find_models(args)
    search = choose_search(header, args)
    captioner = load_captioner(args, checkpoints)
    for name in captioner.hidden_members:
        why = "its grid of regions differs from the first model's"
        print(f"captioner: attention of {name} is not shown: {why}.", file=sys.stderr)
    return captioner, search


def _prepare(captioner: "Captioner", photo: str) -> "Prepared":
    """Read a photo; a folder is told from other things that are none."""
    if isinstance(source := _source(photo), bytes):
        return replace(captioner.prepare(source, name=photo), image=photo)
    path = Path(photo)
    if path.is_dir():
        if os.access(path, os.R_OK) and not any(path.iterdir()):
            raise ImageError(f"{photo}: an empty folder; name a photo.")
        raise ImageError(
            f"{photo}: a folder, not a photo; name the photos in it, as in {path / '*.jpg'}"
        )
    if _PATTERN.search(photo) and "://" not in photo and not os.path.lexists(photo):
        raise ImageError(f"{photo}: no file fits this pattern; check the path.")
    return captioner.prepare(photo)


def _source(photo: str) -> str | bytes:
    """Return what is read of a photo: its path, or the bytes of an object in a store."""
    if "://" not in photo:
        return photo
    from captioner.folder.sources.inputs import Photo
    from captioner.folder.sources.remote import is_remote

    return Photo(name=photo, path=photo).read() if is_remote(photo) else photo


def _draw(caption: "Caption", target: Path, args: argparse.Namespace) -> None:
    """Write the overlays of a caption to a file, whose folder is made."""
    from captioner.overlay import Style, render
    from captioner.photo import load_reduced

    assert caption.image is not None  # as above
    style = Style(drawing=args.style or "heat", scale=args.scale or "word")
    photo, _ = load_reduced(_source(caption.image), at_least=_OVERLAY_PIXELS)
    with explained(target, option="--overlay"):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(render(photo, caption, kind=args.format, style=style))


def _warn(caption: "Caption", *, drawn: bool) -> None:
    """Say on standard error what the attention, or a drawn overlay, cannot show."""
    from captioner.result.diagnosis import diagnose

    faults = []
    if drawn:
        from captioner.overlay.lettering import find_font_problems

        faults = find_font_problems(caption.text)
    for warning in [*diagnose(caption.words), *faults]:
        print(f"captioner: {caption.image}: {warning}", file=sys.stderr)


def _format(caption: "Caption", args: argparse.Namespace) -> str:
    if args.json:
        return _to_json(caption.to_dict())
    text = caption.text
    if caption.judgement.is_photo is False:
        text += " (not a photo?)"
    return text if len(args.photos) == 1 else f"{caption.image}\t{text}"


def _to_json(table: dict[str, Any]) -> str:
    """One line of JSON, letters as they are; escaped where the output has none."""
    table = portable(table)
    text = json.dumps(table, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return json.dumps(table)
    return text
