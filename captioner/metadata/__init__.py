"""Captions as metadata: in a sidecar file next to a photo, or inside it, no pixel touched.

xmp                dc:description in an XMP packet
exif               ImageDescription and the like in Exif data, a structure of directories (ifd)
iptc               caption in IPTC records and Photoshop resources
jpeg, png, webp    where these lie in a file
mpf, previews      where the other pictures of a JPEG lie
tiff, found        captions of TIFF files and of other kinds, which are only read
placeholders       what stands in a caption's place and is none

A photo gets its caption as XMP, a JPEG as IPTC, too: all photo managers read one of the two. What
else it has in the place of a caption, in Exif or a PNG's texts, is replaced, so that no program
shows the old one. Every byte outside the metadata stays as it was, and so does every other field.
What cannot be changed safely is refused.
"""

import os
from pathlib import Path
from types import ModuleType
from typing import Literal

from captioner.errors import MetadataError, UnsupportedFileError
from captioner.metadata import exif, found, iptc, jpeg, png, tiff, webp, xmp
from captioner.metadata.placeholders import caption_in, distinct

__all__ = [
    "Naming",
    "embed",
    "read_caption",
    "read_captions",
    "read_exif_description",
    "read_photo",
    "read_sidecar",
    "read_sidecar_captions",
    "sidecar",
    "sidecar_path",
]

_HEAD = 2**18
"""Bytes that hold the metadata of most JPEGs, which stand before the picture."""

Naming = Literal["full", "stem"]
"""photo.jpg.xmp, or photo.xmp."""


def embed(data: bytes, caption: str, *, language: str | None = None, name: str) -> bytes:
    """Put a caption into a photo.

    Args:
        data: a JPEG, PNG or WebP file.
        caption: replaces all that the photo has.
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
    if kind is not webp and any(old != caption for old in kind.read_fixed(data, name)):
        where = "extended XMP or Exif" if kind is jpeg else "a profile of ImageMagick"
        raise MetadataError(
            f"{name}: its caption is in {where}, which cannot be changed; write a sidecar."
        )
    captions, remarks = _read(data, name)
    outdated = {old.strip() for old in captions or remarks}
    block = kind.read_exif(data, name)
    if block is not None:
        changed = exif.set_caption(block, caption, outdated=outdated, name=name)
        if changed != block:
            data = kind.write_exif(data, changed, name)
    old = kind.read_xmp(data, name)
    packet = xmp.set_caption(old, caption, language=language, name=name)
    if packet != old:
        data = kind.write_xmp(data, packet, name)
    if kind is jpeg:
        records = jpeg.read_resources(data, name)
        resources = iptc.set_caption(records, caption, name=name)
        if resources != records:
            data = jpeg.write_resources(data, resources, name)
    if kind is png:
        data = png.write_texts(data, caption, outdated=outdated, name=name)
    return data


def read_photo(path: str | os.PathLike[str]) -> bytes:
    """Read what the functions that read captions need of a file: of most JPEGs, little.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        head = file.read(_HEAD)
        if _kind(head) is jpeg and jpeg.is_enough(head):
            return head
        return head + file.read()


def read_captions(data: bytes, *, name: str) -> list[str]:
    """Read the captions of a photo, from all places where photo managers look for them.

    Args:
        data: the file.
        name: what to call the photo in an error.

    Returns:
        Captions that differ, those that are read first in front; if there is none, what people
        may have taken for one: the comments and titles of Windows' Explorer, comments of a PNG.

    Raises:
        MetadataError: the file or its metadata are damaged.
    """
    captions, remarks = _read(data, name)
    return distinct(captions or remarks)


def read_caption(data: bytes, *, name: str) -> str | None:
    """Read the first of the captions of a photo; None if it has none.

    Raises:
        MetadataError: the file or its metadata are damaged.
    """
    return next(iter(read_captions(data, name=name)), None)


def read_exif_description(data: bytes, *, name: str) -> str | None:
    """Read Exif's ImageDescription of a photo, even if it is blank; None if there is none.

    Raises:
        MetadataError: the file is damaged.
    """
    kind = _kind(data)
    block = data if kind is None else kind.read_exif(data, name)
    return None if block is None else exif.get_description(block)


def sidecar(
    caption: str,
    existing: bytes | None = None,
    *,
    language: str | None = None,
    over_exif: bool = False,
    name: str,
) -> bytes:
    """Put a caption into a sidecar file.

    Args:
        caption: replaces the one that the sidecar has.
        existing: content of the sidecar, whose other properties are kept; None or blanks start one.
        language: as in `embed`.
        over_exif: say it in tiff:ImageDescription, too. Immich reads the photo's own
            ImageDescription before the dc:description of a sidecar, and this one before both.
        name: what to call the sidecar in an error.

    Raises:
        MetadataError: the existing sidecar is no XMP, or not in UTF-8.
    """
    packet = xmp.new_sidecar() if existing is None or _is_blank(existing) else existing
    return xmp.set_caption(packet, caption, language=language, over_exif=over_exif, name=name)


def read_sidecar_captions(existing: bytes, *, name: str) -> list[str]:
    """Read the captions of a sidecar file that differ, those that are read first in front.

    Raises:
        MetadataError: the file is no XMP, or not in UTF-8.
    """
    return [] if _is_blank(existing) else distinct(xmp.get_captions(existing, name=name))


def read_sidecar(existing: bytes, *, name: str) -> str | None:
    """Read the first of the captions of a sidecar file; None if it has none.

    Raises:
        MetadataError: the file is no XMP, or not in UTF-8.
    """
    return next(iter(read_sidecar_captions(existing, name=name)), None)


def sidecar_path(photo: Path, *, naming: Naming = "full") -> Path:
    """Where the sidecar of a photo lies.

    digiKam and darktable expect `full`, which also keeps photo.jpg and photo.png apart. Lightroom
    and Bridge expect `stem`, and only next to raw photos; others they want captioned inside.
    """
    return photo.with_name(photo.name + ".xmp") if naming == "full" else photo.with_suffix(".xmp")


def _read(data: bytes, name: str) -> tuple[list[str], list[str]]:
    """The captions of a photo, and what may be captions."""
    if data.startswith(tiff.SIGNATURES):
        return tiff.read_captions(data, name)
    kind = _kind(data)
    if kind is None:
        return found.read_captions(data, name)
    remarks: list[str] = []
    packet = kind.read_xmp(data, name)
    captions = [] if packet is None else xmp.get_captions(packet, name=name)
    block = kind.read_exif(data, name)
    if block is not None:
        captions += exif.get_captions(block)
        remarks += exif.get_remarks(block)
    if kind is jpeg:
        caption = caption_in(iptc.get_caption(jpeg.read_resources(data, name), name=name))
        captions += [] if caption is None else [caption]
    if kind is png:
        texts, comments = png.read_texts(data, name)
        captions, remarks = captions + texts, remarks + comments
    captions += kind.read_fixed(data, name) if kind is not webp else []
    return captions, remarks


def _is_blank(sidecar: bytes) -> bool:
    return not sidecar.strip(b"\0 \t\r\n\xef\xbb\xbf")


def _kind(data: bytes) -> ModuleType | None:
    """The module for files that begin like this."""
    if data.startswith(b"\xff\xd8\xff"):
        return jpeg
    if data.startswith(png.SIGNATURE):
        return png
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return webp
    return None
