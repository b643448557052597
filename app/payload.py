"""What the page draws from: photos and captions as plain values for JSON.

The weights of every word, layer and head travel as bytes, so the page shows another word, view,
candidate or colour without asking the server.
"""

import json
from base64 import b64encode
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, get_args

import numpy as np
from PIL import Image

from captioner import AttentionConfig, Caption, Word
from captioner.overlay import ColourMap, Style, diagnose, find_most_telling, split_caption, veil

_HERE = Path(__file__).parent

Views = Sequence[tuple[str, AttentionConfig]]
"""What attention can be taken from, by name."""


def pack_photo(
    photo: Image.Image, *, key: str, model: str, sample: str = "", people: Any = None
) -> dict[str, Any]:
    """Give the page a photo to show.

    Args:
        photo: small enough to be looked at.
        key: tells it from the photos before; captions of another one are not shown with it.
        model: name of the model beside which it stands.
        sample: name of the sample that it is, if any.
        people: what they said about it, if anything.
    """
    return {
        "key": key,
        "model": model,
        "sample": sample,
        "people": people,
        "src": data_uri(photo),
        "width": photo.width,
        "height": photo.height,
    }


def pack_captions(captions: Iterable[Caption], *, key: str, kind: str = "done") -> dict[str, Any]:
    """Give the page captions of one photo, the first one chosen.

    Args:
        captions: of the photo.
        key: of the photo.
        kind: `growing` while the first one is being written.
    """
    return {
        "kind": kind,
        "key": key,
        "captions": [pack_caption(caption, growing=kind == "growing") for caption in captions],
    }


def pack_caption(caption: Caption, *, growing: bool = False) -> dict[str, Any]:
    """Write a caption as the page reads it; a growing one has the usual view alone."""
    geometry = caption.geometry
    heads = caption.words[0].heads if caption.words and not growing else None
    layers, each = (1, 1) if heads is None else heads.shape[:2]
    return {
        "text": printable(caption.text),
        "score": caption.score,
        "layers": layers,
        "heads": each,
        "derived": [] if heads is None else [name for name, _ in _derived(caption.words[0])],
        "grid": list(caption.words[0].attention.shape) if caption.words else [1, 1],
        "width": geometry.width,
        "height": geometry.height,
        "seen": [
            geometry.top / geometry.height,
            geometry.left / geometry.width,
            geometry.seen_height / geometry.height,
            geometry.seen_width / geometry.width,
        ],
        "doubts": _doubts(caption),
        "telling": find_most_telling(caption.words),
        "warnings": [] if growing else diagnose(caption.words),
        "words": [
            {
                "text": printable(text),
                "spaced": spaced,
                "probability": word.probability,
                "doubtful": word.doubtful,
                "gate": word.gate,
                "rivals": [rival._asdict() for rival in word.rivals],
                **_pack_weights(word, growing=growing),
            }
            for (spaced, text), word in zip(split_caption(caption), caption.words, strict=True)
        ],
    }


def _doubts(caption: Caption) -> list[str]:
    """Say what to beware of, with the numbers behind it."""
    own = caption.judgement
    shares = {"low confidence": own.confidence, "not a photo?": own.photo_probability}
    return [f"{doubt} ({shares[doubt]:.0%})" for doubt in own.doubts]


def _derived(word: Word) -> list[tuple[str, Any]]:
    """List the maps that are made of more than the weights of layers and heads, by method."""
    maps = (("rollout", word.rollout), ("evidence", word.evidence))
    return [(name, own) for name, own in maps if own is not None]


def _pack_weights(word: Word, *, growing: bool) -> dict[str, Any]:
    """Write every map in 255 levels of its heaviest weight."""
    maps = word.attention[None]
    if word.heads is not None and not growing:
        maps = word.heads.reshape(-1, *word.attention.shape)
        maps = np.concatenate([maps, *(own[None] for _, own in _derived(word))])
    peaks = maps.max(axis=(1, 2))
    levels = np.rint(maps * (255 / peaks[:, None, None])).astype(np.uint8)
    return {"peaks": peaks.tolist(), "levels": b64encode(levels.tobytes()).decode()}


def write_script(*names: str, views: Views = ()) -> str:
    """Join scripts of this folder, after what they know as `VIEWS` and `VEILS`."""
    files = [(_HERE / f"{name}.js").read_text(encoding="utf-8") for name in names]
    return "\n".join([_constants(views), *files])


def _constants(views: Views) -> str:
    veils = {name: Style(colour_map=name, alpha=1.0) for name in get_args(ColourMap)}
    veils["spotlight"] = Style(drawing="spotlight", alpha=1.0)
    lists = [{"name": n, "method": v.method, "layer": v.layer, "head": v.head} for n, v in views]
    packed = {}
    for name, style in veils.items():
        colours, opacities = veil(style)
        rgb = np.frombuffer(colours, np.uint8).reshape(256, 3)
        rgba = np.column_stack([rgb, np.frombuffer(opacities, np.uint8)])
        packed[name] = b64encode(rgba.tobytes()).decode()
    return (
        f"const VIEWS = {json.dumps(lists)};\n"
        f"const VEILS = Object.fromEntries(Object.entries({json.dumps(packed)}).map("
        "([name, packed]) => [name, Uint8ClampedArray.from(atob(packed), (x) => x.charCodeAt(0))]"
        "));"
    )


def printable(text: str) -> str:
    """Leave out what no browser shows: control characters and halves of characters."""
    return "".join(c if c.isprintable() else " " for c in text)


def data_uri(photo: Image.Image) -> str:
    """Write a photo as a JPEG that needs no file."""
    stream = BytesIO()
    photo.save(stream, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{b64encode(stream.getvalue()).decode()}"
