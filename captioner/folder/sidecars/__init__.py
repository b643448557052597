"""Captions beside photos and inside them: each kind of file is one class, registered in `SIDECARS`.

What all say of themselves is `contract.Sidecar`; whoever has one asks it, never which one it is.
docs/extending.md adds another.
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
"""Every kind of file that holds captions, by what `--sidecar` and the journal call it."""
