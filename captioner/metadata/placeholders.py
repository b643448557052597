"""Texts in caption fields that are not captions: blanks, camera names, data of programs.

Cameras and phones write their own name or the shooting mode into Exif's ImageDescription. That is
not a caption and may be overwritten. Programs store data there (prompts, workflows, microscope
settings), which is not a caption either, but is kept.
"""

import json
import re

_BLANK = " \t\r\n\v\f\0\u00a0\ufeff"

_PLACEHOLDERS = frozenset(
    text.lower()
    for text in (
        # cameras
        "OLYMPUS DIGITAL CAMERA",
        "MINOLTA DIGITAL CAMERA",
        "KONICA MINOLTA DIGITAL CAMERA",
        "KODAK Digital Still Camera",
        "DIGITAL CAMERA",
        "DIGITAL STILL CAMERA",
        "SONY DSC",
        "SAMSUNG",
        "SAMSUNG DIGITAL CAMERA",
        "SAMSUNG CAMERA PICTURES",
        "Exif_JPEG_PICTURE",
        "Exif JPEG",
        "binary comment",
        "default",
        # Huawei and Honor phones: shooting modes
        *("btf", "btfhdr", "btfmdn", "burst", "cof", "dav", "edf", "fbt", "fbthdr", "frem"),
        *("frontbhdp", "fshbty", "hdrpl", "maf", "mde", "mde_soft", "mon", "nor", "oznor"),
        *("oznorWO", "ptr", "ptfbty", "qrf", "rbt", "rhdr", "rpt", "sdr_HDRB"),
        # programs
        "Created with GIMP",
        "Created with The GIMP",
        "Created by Imlib",
        "iClarified",
        "Screenshot",
    )
)
_PATTERNS = (
    re.compile(r"DCIM([\\/]\S*)?", re.IGNORECASE),  # DJI, GoPro: path on the camera
    re.compile(r"<(Digimax|KENOX|Samsung) [^<>]*>"),
)

_DATA = (
    re.compile(r"<\?xml\s|<OME\s"),  # microscopes
    re.compile(r"ImageJ=\d"),
    re.compile(r"(?s).*^Steps: \d+, Sampler: ", re.MULTILINE),  # Stable Diffusion
)
_JSON = re.compile(r"(?s)(?:\w+:\s*)?([{\[].*[}\]])")


def is_data(text: str) -> bool:
    """Whether a text is data of a program."""
    text = text.strip(_BLANK)
    if any(pattern.match(text) for pattern in _DATA):
        return True
    json_like = _JSON.fullmatch(text)
    if json_like is None:
        return False
    try:
        json.loads(json_like.group(1))
    except (ValueError, RecursionError):
        return False
    return True


def captions_in(text: str | None) -> list[str]:
    """Return the text as a list, empty if it is not a caption."""
    caption = caption_in(text)
    return [] if caption is None else [caption]


def caption_in(text: str | None, *, names: tuple[str, ...] = ()) -> str | None:
    """Return the text if it is a caption; otherwise None.

    Args:
        text: content of a caption field.
        names: names of the camera, which are not captions.
    """
    bare = (text or "").strip(_BLANK)
    lowered = bare.lower()
    if not bare or lowered in _PLACEHOLDERS or lowered in {name.lower() for name in names}:
        return None
    if any(pattern.fullmatch(bare) for pattern in _PATTERNS) or is_data(bare):
        return None
    return text


def distinct(captions: list[str]) -> list[str]:
    """Drop captions that repeat another one.

    Copies may be truncated, as in IPTC, or have question marks for non-ASCII characters.
    """
    keys = [caption.strip(_BLANK).encode("ascii", "replace") for caption in captions]
    return [
        caption
        for n, (caption, key) in enumerate(zip(captions, keys, strict=True))
        if not any(
            key in other and (key != other or m < n) for m, other in enumerate(keys) if m != n
        )
    ]
