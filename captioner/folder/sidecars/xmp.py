"""XMP files beside photos."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from captioner.errors import MetadataError
from captioner.folder.sidecars.contract import Note, Sidecar

if TYPE_CHECKING:
    from captioner.metadata import Fields, Naming


class XmpSidecar(Sidecar):
    """photo.jpg.xmp or photo.xmp, for photo managers.

    Args:
        kind: what `--sidecar` and the journal call it.
        fields: whether it is the caption that is written, the alt text, or both.
        naming: `full` as digiKam, `stem` as Lightroom.
    """

    shown = True

    def __init__(self, kind: str, fields: "Fields" = "caption", naming: "Naming" = "full") -> None:
        self.kind = kind
        self.fields = fields
        self.shared = naming == "stem"

    def place(self, photo: str) -> str:
        """photo.jpg.xmp, or photo.xmp."""
        return (os.path.splitext(photo)[0] if self.shared else photo) + ".xmp"

    def read(self, content: bytes, *, name: str) -> list[str]:
        """Captions of its packet."""
        from captioner import metadata

        return metadata.read_sidecar_captions(content, fields=self.fields, name=name)

    def digests(self, content: bytes, *, name: str) -> frozenset[str]:
        """What the packet says."""
        from captioner import metadata

        return metadata.read_sidecar_digests(content, name=name)

    def erase(self, old: bytes, *, name: str) -> bytes | None:
        """The packet without caption; nothing if it held nothing else."""
        from captioner import metadata

        left = super().erase(old, name=name)
        return None if left is None or metadata.is_bare(left) else left

    def write(self, caption: str, old: bytes | None, *, note: Note, name: str) -> bytes:
        """The packet with the caption, above Exif where asked for."""
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
        """As digiKam and as Lightroom name them."""
        from captioner import metadata

        full, stem = (
            _as_it_is_written(str(metadata.sidecar_path(Path(photo), naming=naming)))
            for naming in ("full", "stem")
        )
        other = os.path.exists(os.path.splitext(photo)[0])  # photo.jpg.xmp is photo.jpg's
        return [full] if other else [full, stem]

    def is_outranked(self, photo: str, caption: str) -> bool:
        """Whether Exif's ImageDescription says something else."""
        from captioner import metadata

        try:
            content = metadata.read_photo(photo)
            description = metadata.read_exif_description(content, name=photo)
        except MetadataError:  # photo managers cannot read it, either
            return False
        return description not in (None, caption)


def _as_it_is_written(sidecar: str) -> str:
    """An XMP file's name, in capitals if that is the one that is there."""
    capitals = sidecar.removesuffix(".xmp") + ".XMP"
    return capitals if os.path.exists(capitals) and not os.path.exists(sidecar) else sidecar
