"""Photos and captions as JSON for the page.

The attention weights of every word, layer and head are sent as bytes, so the page switches word,
view, candidate or colour map without the server.
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
"""Attention views by name."""


def pack_photo(
    photo: Image.Image, *, key: str, model: str, sample: str = "", annotations: Any = None
) -> dict[str, Any]:
    """Pack a photo.

    Args:
        photo: preview of the photo.
        key: unique per selected photo; the page ignores captions with another key.
        model: name of the model that captions it.
        sample: name of the sample, if it is one.
        annotations: human annotations of the sample, from `read_annotations`.
    """
    return {
        "key": key,
        "model": model,
        "sample": sample,
        "annotations": annotations,
        "src": data_uri(photo),
        "width": photo.width,
        "height": photo.height,
    }


def pack_captions(captions: Iterable[Caption], *, key: str, kind: str = "done") -> dict[str, Any]:
    """Pack captions of one photo; the page selects the first.

    Args:
        captions: captions of the photo.
        key: key of the photo.
        kind: what the page does with them; `partial` while the caption is being generated.
    """
    return {
        "kind": kind,
        "key": key,
        "captions": [pack_caption(caption, partial=kind == "partial") for caption in captions],
    }


def pack_caption(caption: Caption, *, partial: bool = False) -> dict[str, Any]:
    """Pack a caption; a partial one has the default attention view only."""
    geometry = caption.geometry
    heads = caption.words[0].heads if caption.words and not partial else None
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
        "warnings": [] if partial else diagnose(caption.words),
        "words": [
            {
                "text": printable(text),
                "spaced": spaced,
                "probability": word.probability,
                "doubtful": word.doubtful,
                "gate": word.gate,
                "rivals": [rival._asdict() for rival in word.rivals],
                **_pack_weights(word, partial=partial),
            }
            for (spaced, text), word in zip(split_caption(caption), caption.words, strict=True)
        ],
    }


def _doubts(caption: Caption) -> list[str]:
    """Return the caption's warnings, each with its probability."""
    found = caption.judgement
    shares = {"low confidence": found.confidence, "not a photo?": found.photo_probability}
    return [f"{doubt} ({shares[doubt]:.0%})" for doubt in found.doubts]


def _derived(word: Word) -> list[tuple[str, Any]]:
    """List the maps that are computed from more than the attention weights, by method."""
    maps = (("rollout", word.rollout), ("evidence", word.evidence))
    return [(name, found) for name, found in maps if found is not None]


def _pack_weights(word: Word, *, partial: bool) -> dict[str, Any]:
    """Quantise every map to 8 bits, relative to its peak."""
    maps = word.attention[None]
    if word.heads is not None and not partial:
        maps = word.heads.reshape(-1, *word.attention.shape)
        maps = np.concatenate([maps, *(found[None] for _, found in _derived(word))])
    peaks = maps.max(axis=(1, 2))
    levels = np.rint(maps * (255 / peaks[:, None, None])).astype(np.uint8)
    return {"peaks": peaks.tolist(), "levels": b64encode(levels.tobytes()).decode()}


def write_script(*names: str, views: Views = ()) -> str:
    """Join scripts of this folder, preceded by their constants `VIEWS` and `COLOURS`."""
    files = [(_HERE / f"{name}.js").read_text(encoding="utf-8") for name in names]
    return "\n".join([_constants(views), *files])


def _constants(views: Views) -> str:
    styles = {name: Style(colour_map=name, alpha=1.0) for name in get_args(ColourMap)}
    styles["spotlight"] = Style(drawing="spotlight", alpha=1.0)
    lists = [{"name": n, "method": v.method, "layer": v.layer, "head": v.head} for n, v in views]
    packed = {}
    for name, style in styles.items():
        colours, opacities = veil(style)
        rgb = np.frombuffer(colours, np.uint8).reshape(256, 3)
        rgba = np.column_stack([rgb, np.frombuffer(opacities, np.uint8)])
        packed[name] = b64encode(rgba.tobytes()).decode()
    return (
        f"const VIEWS = {json.dumps(lists)};\n"
        f"const COLOURS = Object.fromEntries(Object.entries({json.dumps(packed)}).map("
        "([name, packed]) => [name, Uint8ClampedArray.from(atob(packed), (x) => x.charCodeAt(0))]"
        "));"
    )


def printable(text: str) -> str:
    """Replace control characters and lone surrogates, which browsers do not show, by spaces."""
    return "".join(c if c.isprintable() else " " for c in text)


def data_uri(photo: Image.Image) -> str:
    """Encode a photo as a JPEG data URI."""
    stream = BytesIO()
    photo.save(stream, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{b64encode(stream.getvalue()).decode()}"
