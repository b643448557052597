"""Captions as metadata: in a sidecar file next to a photo, or inside it, no pixel touched.

xmp                dc:description in an XMP packet
iptc               caption in IPTC records and Photoshop resources
jpeg, png, webp    where these lie in a file; mpf, where the other pictures of a JPEG lie
files              a file replaced in one step

A JPEG gets XMP and IPTC, which all photo managers read; PNG and WebP have a place for XMP only.
Exif's ImageDescription, in which cameras put their own name, is neither read nor written.
Every byte outside the metadata stays as it was. What cannot be changed safely is refused.
"""

from pathlib import Path
from types import ModuleType
from typing import Literal

from captioner.errors import UnsupportedFileError
from captioner.metadata import iptc, jpeg, png, webp, xmp
from captioner.metadata.files import TEMPORARY, replace_file

__all__ = [
    "TEMPORARY",
    "Naming",
    "embed",
    "read_caption",
    "read_sidecar",
    "replace_file",
    "sidecar",
    "sidecar_path",
]

Naming = Literal["full", "stem"]
"""photo.jpg.xmp, or photo.xmp."""


def embed(data: bytes, caption: str, *, language: str | None = None, name: str) -> bytes:
    """Put a caption into a photo.

    Args:
        data: a JPEG, PNG or WebP file.
        caption: replaces the one that the photo has.
        language: of the caption, such as `en`; readers take it for any language without.
        name: what to call the photo in an error.

    Returns:
        The file with the caption; the same bytes when it had this caption already.

    Raises:
        UnsupportedFileError: the file is of another kind.
        MetadataError: it is damaged, or cannot be changed safely.
    """
    kind = _kind(data)
    if kind is None:
        raise UnsupportedFileError(
            f"{name}: captions can be written into JPEG, PNG and WebP files only; write a sidecar."
        )
    old = kind.read_xmp(data, name)
    packet = xmp.set_caption(old, caption, language=language, name=name)
    if packet != old:
        data = kind.write_xmp(data, packet, name)
    if kind is jpeg:
        records = jpeg.read_resources(data, name)
        resources = iptc.set_caption(records, caption, name=name)
        if resources != records:
            data = jpeg.write_resources(data, resources, name)
    return data


def read_caption(data: bytes, *, name: str) -> str | None:
    """Read the caption of a photo: from its XMP, or else from its IPTC records.

    Returns:
        The caption; None if there is none, or if files of this kind hold none.

    Raises:
        MetadataError: the file or its metadata are damaged.
    """
    kind = _kind(data)
    if kind is None:
        return None
    packet = kind.read_xmp(data, name)
    caption = None if packet is None else xmp.get_caption(packet, name=name)
    if caption is None and kind is jpeg:
        caption = iptc.get_caption(jpeg.read_resources(data, name), name=name)
    return caption


def sidecar(
    caption: str, existing: bytes | None = None, *, language: str | None = None, name: str
) -> bytes:
    """Put a caption into a sidecar file.

    Args:
        caption: replaces the one that the sidecar has.
        existing: content of the sidecar, whose other properties are kept; None starts one.
        language: as in `embed`.
        name: what to call the sidecar in an error.

    Raises:
        MetadataError: the existing sidecar is no XMP, or not in UTF-8.
    """
    packet = xmp.new_sidecar() if existing is None else existing
    return xmp.set_caption(packet, caption, language=language, name=name)


def read_sidecar(existing: bytes, *, name: str) -> str | None:
    """Read the caption of a sidecar file; None if it has none.

    Raises:
        MetadataError: the file is no XMP, or not in UTF-8.
    """
    return xmp.get_caption(existing, name=name)


def sidecar_path(photo: Path, *, naming: Naming = "full") -> Path:
    """Where the sidecar of a photo lies.

    digiKam and darktable expect `full`, which also keeps photo.jpg and photo.png apart. Lightroom
    and Bridge expect `stem`, and only next to raw photos; others they want captioned inside.
    """
    return photo.with_name(photo.name + ".xmp") if naming == "full" else photo.with_suffix(".xmp")


def _kind(data: bytes) -> ModuleType | None:
    """The module for files that begin like this."""
    if data.startswith(b"\xff\xd8\xff"):
        return jpeg
    if data.startswith(png.SIGNATURE):
        return png
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return webp
    return None
