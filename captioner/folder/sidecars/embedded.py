"""Captions inside photos."""

from typing import TYPE_CHECKING

from captioner.folder.sidecars.contract import Note, Sidecar

if TYPE_CHECKING:
    from captioner.metadata import Fields


class Embedded(Sidecar):
    """The photo itself, whose metadata hold its caption.

    Args:
        kind: what the journal calls it.
        fields: whether it is the caption that is written, the alt text, or both.
    """

    shown = True
    inside = True

    def __init__(self, kind: str, fields: "Fields" = "caption") -> None:
        self.kind = kind
        self.fields = fields

    def place(self, photo: str) -> str:
        """The photo."""
        return photo

    def load(self, path: str) -> bytes | None:
        """Read what its captions are read from."""
        from captioner import metadata

        return metadata.read_photo(path)

    def read(self, content: bytes, *, name: str) -> list[str]:
        """Captions from all places where photo managers look for them."""
        from captioner import metadata

        return metadata.read_captions(content, fields=self.fields, name=name)

    def digests(self, content: bytes, *, name: str) -> frozenset[str]:
        """What the packet inside says."""
        from captioner import metadata

        return metadata.read_digests(content, name=name)

    def write(self, caption: str, old: bytes | None, *, note: Note, name: str) -> bytes:
        """The photo with its caption, no pixel touched."""
        from captioner import metadata

        assert old is not None
        return metadata.embed(old, caption, fields=self.fields, mark=note.mark, name=name)
