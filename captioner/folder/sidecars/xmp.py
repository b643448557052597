"""XMP files beside photos."""

import os
from typing import Literal

from captioner import metadata
from captioner.errors import MetadataError
from captioner.folder.sidecars.contract import Note, Sidecar


class XmpSidecar(Sidecar):
    """An XMP file, photo.jpg.xmp or photo.xmp, for photo managers.

    Args:
        kind: name used in `--sidecar` and the journal.
        fields: whether to write the caption, the alt text, or both.
        naming: `full` as in digiKam, `stem` as in Lightroom.
    """

    shown = True

    def __init__(
        self,
        kind: str,
        fields: metadata.Fields = "caption",
        naming: Literal["full", "stem"] = "full",
    ) -> None:
        self.kind = kind
        self.fields = fields
        self.shared = naming == "stem"

    def path_for(self, photo: str) -> str:
        """Return photo.jpg.xmp or photo.xmp."""
        return (os.path.splitext(photo)[0] if self.shared else photo) + ".xmp"

    def read(self, content: bytes, *, name: str) -> list[str]:
        """Return the captions in the XMP packet."""
        return metadata.read_sidecar_captions(content, fields=self.fields, name=name)

    def digests(self, content: bytes, *, name: str) -> frozenset[str]:
        """Return the digests in the XMP packet."""
        return metadata.read_sidecar_digests(content, name=name)

    def erase(self, old: bytes, *, name: str) -> bytes | None:
        """Return the packet without caption; None if nothing else is left."""
        left = super().erase(old, name=name)
        return None if left is None or metadata.is_bare(left) else left

    def write(self, caption: str, old: bytes | None, *, note: Note, name: str) -> bytes:
        """Return the packet with the caption, taking precedence over Exif if `note` says so."""
        return metadata.sidecar(
            caption,
            old,
            over_exif=note.over_exif,
            fields=self.fields,
            mark=note.mark,
            name=name,
        )

    def find(self, photo: str) -> list[str]:
        """Return the file names of digiKam and of Lightroom."""
        stem = os.path.splitext(photo)[0]
        names = [photo] if os.path.exists(stem) else [photo, stem]  # photo.jpg.xmp is photo.jpg's
        return [_as_it_is_written(f"{name}.xmp") for name in names]

    def is_outranked(self, photo: str, caption: str) -> bool:
        """Whether Exif's ImageDescription differs from the caption."""
        try:
            content = metadata.read_photo(photo)
            description = metadata.read_exif_description(content, name=photo)
        except MetadataError:  # unreadable for photo managers, too
            return False
        return description not in (None, caption)


def _as_it_is_written(sidecar: str) -> str:
    """Return the path of an XMP file, ending in .XMP if that is the existing file."""
    capitals = sidecar.removesuffix(".xmp") + ".XMP"
    return capitals if os.path.exists(capitals) and not os.path.exists(sidecar) else sidecar
