"""HTML page: the photo, and its caption as words to point at; one file, no scripts.

Everything is inside: pictures as data URIs, style inline, and a policy that lets the browser load
nothing else.
"""

from pathlib import Path

from PIL import Image

from captioner.overlay.figure import CSS, POLICY, draw_figure, text
from captioner.overlay.heat import STYLE, Style
from captioner.result.caption import Caption


def draw_page(
    photo: Image.Image, caption: Caption, *, style: Style = STYLE, longest: int = 960
) -> str:
    """Write an HTML page that shows the attention of the word pointed at or chosen.

    Args:
        photo: mode RGB, as displayed; of any size.
        caption: of this photo.
        style: how attention is drawn.
        longest: longer side of the pictures, pixels, unless the photo is smaller.

    Returns:
        The page; write it as UTF-8.

    Raises:
        ValueError: the photo is not the captioned one.
    """
    about = [caption.checkpoint, f"log-probability {caption.log_probability:.2f}"]
    if caption.image is not None:
        about.insert(0, Path(caption.image).name)
    below = f'<p class="pale">{" | ".join(map(text, about))}</p>\n'
    return f"""\
<!DOCTYPE html>
<html>
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{text(caption.text)}</title>
<style>
{CSS}main {{ max-width: 60rem; margin: auto; }}
</style>
</head>
<body>
<main>
{draw_figure(photo, caption, style=style, longest=longest, about=below)}</main>
</body>
</html>
"""
