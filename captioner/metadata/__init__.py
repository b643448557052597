"""Captions as metadata: in a sidecar next to a photo, or inside it, never touching pixels.

xmp                dc:description in an XMP packet
exif               ImageDescription and the like in Exif data, a structure of directories (ifd)
iptc               caption in IPTC records and Photoshop resources
jpeg, png, webp    where the file formats store these
previews           further images inside a JPEG
readonly           captions of TIFF and other formats that are never written
placeholders       texts in caption fields that are not captions

Captions are written as XMP, in a JPEG also as IPTC: every photo manager reads one of the two. Old
captions in Exif or PNG text are replaced, so that no program shows them. All other fields, and
every byte outside the metadata, are preserved. Files that cannot be changed safely are refused.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from captioner.errors import MetadataError, UnsupportedFileError
from captioner.metadata import exif, jpeg, png, readonly, xmp
from captioner.metadata.jpeg import Jpeg
from captioner.metadata.marks import Fields, Mark, alt_text, text_digest
from captioner.metadata.placeholders import distinct
from captioner.metadata.png import Png
from captioner.metadata.webp import WebP
from captioner.metadata.xmp import is_bare

__all__ = [
    "Fields",
    "Mark",
    "alt_text",
    "embed",
    "is_bare",
    "read_captions",
    "read_digests",
    "read_exif_description",
    "read_photo",
    "read_sidecar_captions",
    "read_sidecar_digests",
    "sidecar",
    "text_digest",
]

_HEAD = 2**18
"""Bytes to read first; they hold the metadata of most JPEGs."""


def embed(
    data: bytes,
    caption: str,
    *,
    fields: Fields = "caption",
    mark: Mark | None = None,
    name: str,
) -> bytes:
    """Write a caption into a photo's metadata.

    Args:
        data: content of a JPEG, PNG or WebP file.
        caption: replaces all captions of the photo; empty removes them.
        fields: whether to write the caption, the alt text, or both. Alt text is XMP only.
        mark: marks the caption as written by a model.
        name: name of the photo, for error messages.

    Returns:
        The file with the caption; identical bytes if it already had this caption.

    Raises:
        UnsupportedFileError: the file has another format.
        MetadataError: the file is damaged, or cannot be changed safely.
    """
    with _named(name):
        file = _open(data)
        if file is None:
            raise UnsupportedFileError(
                "captions can be written into JPEG, PNG and WebP files only; write a sidecar."
            )
        if fields != "alt-text":
            _write_others(file, caption)
        old = file.read_xmp()
        packet = (
            None
            if old is None and not caption
            else xmp.set_caption(old, caption, fields=fields, mark=mark)
        )
        if packet is not None and packet != old:
            file.write_xmp(packet)
        return file.to_bytes()


def _write_others(file: Jpeg | Png | WebP, caption: str) -> None:
    """Write a caption into a photo's Exif, IPTC and text chunks.

    Raises:
        MetadataError: one of them cannot be changed.
    """
    if any(old != caption for old in file.read_fixed()):
        raise MetadataError(
            f"its caption is in {file.FIXED}, which cannot be changed; write a sidecar."
        )
    captions, remarks = _read(file)
    outdated = {old.strip() for old in captions or remarks}
    if (block := file.read_exif()) is not None:
        changed = exif.set_caption(block, caption, outdated=outdated)
        if changed != block:
            file.write_exif(changed)
    file.write_texts(caption, outdated)


def read_photo(path: str | os.PathLike[str]) -> bytes:
    """Read as much of a file as the caption readers need: for most JPEGs, only its start.

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        head = file.read(_HEAD)
        enough = head.startswith(jpeg.SIGNATURE) and jpeg.is_enough(head)
        return head if enough else head + file.read()


def read_captions(data: bytes, *, fields: Fields = "caption", name: str) -> list[str]:
    """Read the captions of a photo from all fields that photo managers read.

    Args:
        data: content of the file.
        fields: whether to read captions, alt texts, or both.
        name: name of the photo, for error messages.

    Returns:
        Distinct captions in order of precedence. If there are none, texts that may serve as
        captions: Windows Explorer's comment, title and subject, and PNG comments.

    Raises:
        MetadataError: the file or its metadata are damaged.
    """
    with _named(name):
        file = _open(data)
        captions, remarks = readonly.read_captions(data) if file is None else _read(file)
        captions = [] if fields == "alt-text" else captions or remarks
        packet = file.read_xmp() if file and fields != "caption" else None
        return distinct(captions + (xmp.get_captions(packet, fields="alt-text") if packet else []))


def read_digests(data: bytes, *, name: str) -> frozenset[str]:
    """Read the digests (`text_digest`) of captions that models wrote into a photo.

    Raises:
        MetadataError: the file or its metadata are damaged.
    """
    with _named(name):
        file = _open(data)
        packet = None if file is None else file.read_xmp()
        return frozenset() if packet is None else xmp.get_digests(packet)


def read_exif_description(data: bytes, *, name: str) -> str | None:
    """Read Exif's ImageDescription of a photo, even if it is blank; None if there is none.

    Raises:
        MetadataError: the file is damaged.
    """
    with _named(name):
        file = _open(data)
        block = data if file is None else file.read_exif()
        return None if block is None else exif.get_description(block)


def sidecar(
    caption: str,
    existing: bytes | None = None,
    *,
    over_exif: bool = False,
    fields: Fields = "caption",
    mark: Mark | None = None,
    name: str,
) -> bytes:
    """Write a caption into an XMP sidecar.

    Args:
        caption: replaces the sidecar's caption; empty removes it.
        existing: content of the sidecar, whose other properties are kept; None or blank starts a
            new one.
        over_exif: also write tiff:ImageDescription. Immich prefers the photo's own
            ImageDescription to a sidecar's dc:description, and this property to both.
        fields: as in `embed`.
        mark: as in `embed`.
        name: name of the sidecar, for error messages.

    Raises:
        MetadataError: the existing sidecar is not XMP, or not UTF-8.
    """
    packet = xmp.new_sidecar() if existing is None or _is_blank(existing) else existing
    with _named(name):
        return xmp.set_caption(packet, caption, over_exif=over_exif, fields=fields, mark=mark)


def read_sidecar_digests(existing: bytes, *, name: str) -> frozenset[str]:
    """Read the digests (`text_digest`) of captions that models wrote into a sidecar.

    Raises:
        MetadataError: the file is not XMP, or not UTF-8.
    """
    with _named(name):
        return frozenset() if _is_blank(existing) else xmp.get_digests(existing)


def read_sidecar_captions(existing: bytes, *, fields: Fields = "caption", name: str) -> list[str]:
    """Read the distinct captions of a sidecar, in order of precedence.

    Raises:
        MetadataError: the file is not XMP, or not UTF-8.
    """
    with _named(name):
        if _is_blank(existing):
            return []
        return distinct(xmp.get_captions(existing, fields=fields))


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Prefix errors with the file's name."""
    try:
        yield
    except MetadataError as error:
        raise type(error)(f"{name}: {error}") from error.__cause__


def _open(data: bytes) -> Jpeg | Png | WebP | None:
    """Parse a file by its signature; None for formats that are only read."""
    if data.startswith(jpeg.SIGNATURE):
        return Jpeg(data)
    if data.startswith(png.SIGNATURE):
        return Png(data)
    return WebP(data) if data.startswith(b"RIFF") and data[8:12] == b"WEBP" else None


def _read(file: Jpeg | Png | WebP) -> tuple[list[str], list[str]]:
    """Return the captions of a photo, and the texts that may be captions."""
    packet = file.read_xmp()
    captions = [] if packet is None else xmp.get_captions(packet)
    block = file.read_exif()
    own, remarks = ([], []) if block is None else exif.read_captions(block)
    texts, comments = file.read_texts()
    return [*captions, *own, *texts, *file.read_fixed()], remarks + comments


def _is_blank(sidecar: bytes) -> bool:
    return not sidecar.strip(b"\0 \t\r\n\xef\xbb\xbf")
