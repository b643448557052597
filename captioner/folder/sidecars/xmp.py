"""XMP files beside photos."""

import os
from pathlib import Path

from captioner.errors import MetadataError
from captioner.folder.sidecars.contract import Sidecar


class XmpSidecar(Sidecar):
    """photo.jpg.xmp, for photo managers."""

    kind = "xmp"
    shown = True

    def place(self, photo: str) -> str:
        """photo.jpg.xmp."""
        return photo + ".xmp"

    def read(self, content: bytes, *, name: str) -> list[str]:
        """Captions of its packet."""
        from captioner import metadata

        return metadata.read_sidecar_captions(content, name=name)

    def write(self, caption: str, old: bytes | None, *, over_exif: bool, name: str) -> bytes:
        """The packet with the caption, above Exif where asked for."""
        from captioner import metadata

        return metadata.sidecar(caption, old, over_exif=over_exif, name=name)

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
