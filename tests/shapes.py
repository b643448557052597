"""Photos of coloured shapes, and captions that say what is on them."""

import json
from pathlib import Path

from PIL import Image, ImageDraw

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 60), "blue": (40, 60, 220), "white": (250,) * 3}
SHAPES = ("ball", "stick")


def photograph(colour: str, shape: str) -> Image.Image:
    """A ball, or a stick that lies across, of this colour on a dark table."""
    picture = Image.new("RGB", (48, 48), (40, 30, 20))
    pen = ImageDraw.Draw(picture)
    if shape == "ball":
        pen.ellipse((6, 6, 42, 42), fill=COLOURS[colour])
    else:
        pen.rectangle((0, 8, 48, 18), fill=COLOURS[colour])
    return picture


def write_shapes(folder: Path) -> dict[str, str]:
    """Write eight photos to `photos/` and `captions.jsonl` beside it; captions by photo."""
    (folder / "photos").mkdir()
    captions = {}
    for colour in COLOURS:
        for shape in SHAPES:
            name = f"{colour}-{shape}.png"
            photograph(colour, shape).save(folder / "photos" / name)
            captions[name] = f"A {colour} {shape} on a dark table"
    rows = [json.dumps({"image": name, "captions": [text]}) for name, text in captions.items()]
    (folder / "captions.jsonl").write_text("\n".join(rows), encoding="utf-8")
    return captions
