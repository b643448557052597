"""XMP files beside photos."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from captioner.errors import MetadataError
from captioner.folder.sidecars.contract import Note, Sidecar

if TYPE_CHECKING:
    from captioner.metadata import Fields, Naming


class XmpSidecar(Sidecar):
    """An XMP file, photo.jpg.xmp or photo.xmp, for photo managers.

    Args:
        kind: name used in `--sidecar` and the journal.
        fields: whether to write the caption, the alt text, or both.
        naming: `full` as in digiKam, `stem` as in Lightroom.
    """

    shown = True

    def __init__(self, kind: str, fields: "Fields" = "caption", naming: "Naming" = "full") -> None:
        self.kind = kind
        self.fields = fields
        self.shared = naming == "stem"

    def place(self, photo: str) -> str:
        """Return photo.jpg.xmp or photo.xmp."""
        return (os.path.splitext(photo)[0] if self.shared else photo) + ".xmp"

    def read(self, content: bytes, *, name: str) -> list[str]:
        """Return the captions in the XMP packet."""
        from captioner import metadata

        return metadata.read_sidecar_captions(content, fields=self.fields, name=name)

    def digests(self, content: bytes, *, name: str) -> frozenset[str]:
        """Return the digests in the XMP packet."""
        from captioner import metadata

        return metadata.read_sidecar_digests(content, name=name)

    def erase(self, old: bytes, *, name: str) -> bytes | None:
        """Return the packet without caption; None if nothing else is left."""
        from captioner import metadata

        left = super().erase(old, name=name)
        return None if left is None or metadata.is_bare(left) else left

    def write(self, caption: str, old: bytes | None, *, note: Note, name: str) -> bytes:
        """Return the packet with the caption, taking precedence over Exif if `note` says so."""
        from captioner import metadata

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
        from captioner import metadata

        full, stem = (
            _as_it_is_written(str(metadata.sidecar_path(Path(photo), naming=naming)))
            for naming in ("full", "stem")
        )
        other = os.path.exists(os.path.splitext(photo)[0])  # photo.jpg.xmp belongs to photo.jpg
        return [full] if other else [full, stem]

    def is_outranked(self, photo: str, caption: str) -> bool:
        """Whether Exif's ImageDescription differs from the caption."""
        from captioner import metadata

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
