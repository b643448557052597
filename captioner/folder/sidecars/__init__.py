"""Files that hold a caption beside a photo or inside it.

Each kind implements `contract.Sidecar` and is registered in `SIDECARS`; docs/extending.md adds
another.
"""

from captioner.folder.sidecars.contract import Sidecar
from captioner.folder.sidecars.embedded import Embedded
from captioner.folder.sidecars.texts import TextSidecar
from captioner.folder.sidecars.xmp import XmpSidecar

__all__ = ["SIDECARS", "Sidecar"]

SIDECARS: dict[str, Sidecar] = {
    sidecar.kind: sidecar
    for sidecar in (
        TextSidecar("txt"),
        TextSidecar("caption"),
        XmpSidecar("xmp"),
        XmpSidecar("lightroom", naming="stem"),
        Embedded("photo"),
        XmpSidecar("xmp+alt-text", "both"),
        XmpSidecar("lightroom+alt-text", "both", "stem"),
        Embedded("photo+alt-text", "both"),
        XmpSidecar("xmp-alt-text", "alt-text"),
        XmpSidecar("lightroom-alt-text", "alt-text", "stem"),
        Embedded("photo-alt-text", "alt-text"),
    )
}
"""All kinds of sidecars, by the name used in `--sidecar` and the journal."""
