"""Which texts in a caption's place are no caption: blanks, names of cameras, data of programs.

Cameras and phones fill Exif's ImageDescription with their own name or the mode of the shot; nobody
wrote that about the photo, so it counts as no caption and gives way to one. Programs keep data of
theirs in the same places (prompts, workflows, microscope settings): that is no caption either, but
it stays.
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
        # phones of Huawei and Honor: modes of the shot
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
    re.compile(r"DCIM([\\/]\S*)?", re.IGNORECASE),  # DJI, GoPro: where the file lay in the camera
    re.compile(r"<(Digimax|KENOX|Samsung) [^<>]*>"),
)

_DATA = (
    re.compile(r"<\?xml\s|<OME\s"),  # microscopes
    re.compile(r"ImageJ=\d"),
    re.compile(r"(?s).*^Steps: \d+, Sampler: ", re.MULTILINE),  # Stable Diffusion
)
_JSON = re.compile(r"(?s)(?:\w+:\s*)?([{\[].*[}\]])")


def is_data(text: str) -> bool:
    """Whether a text is a program's data."""
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
    """Return the text if it is a caption."""
    caption = caption_in(text)
    return [] if caption is None else [caption]


def caption_in(text: str | None, *, names: tuple[str, ...] = ()) -> str | None:
    """Return the text if it is a caption, None if it is none.

    Args:
        text: what stands in the caption's place.
        names: of the camera, which are no caption.
    """
    bare = (text or "").strip(_BLANK)
    lowered = bare.lower()
    if not bare or lowered in _PLACEHOLDERS or lowered in {name.lower() for name in names}:
        return None
    if any(pattern.fullmatch(bare) for pattern in _PATTERNS) or is_data(bare):
        return None
    return text


def distinct(captions: list[str]) -> list[str]:
    """Leave out captions that say what another one says.

    IPTC holds the beginning only, and programs that know no Unicode put question marks.
    """
    keys = [caption.strip(_BLANK).encode("ascii", "replace") for caption in captions]
    return [
        caption
        for n, (caption, key) in enumerate(zip(captions, keys, strict=True))
        if not any(
            key in other and (key != other or m < n) for m, other in enumerate(keys) if m != n
        )
    ]
