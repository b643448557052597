"""Captions in the metadata of photos."""

from captioner import metadata
from captioner.folder.sidecars.contract import Note, Sidecar


class Embedded(Sidecar):
    """The photo itself, with its caption in Exif, IPTC and XMP.

    Args:
        kind: name used in the journal.
        fields: whether to write the caption, the alt text, or both.
    """

    shown = True
    inside = True

    def __init__(self, kind: str, fields: metadata.Fields = "caption") -> None:
        self.kind = kind
        self.fields = fields

    def path_for(self, photo: str) -> str:
        """Return the photo's own path."""
        return photo

    def load(self, path: str) -> bytes | None:
        """Read the part of a photo that holds its metadata."""
        return metadata.read_photo(path)

    def read(self, content: bytes, *, name: str) -> list[str]:
        """Return the captions in all fields that photo managers read."""
        return metadata.read_captions(content, fields=self.fields, name=name)

    def digests(self, content: bytes, *, name: str) -> frozenset[str]:
        """Return the digests in the photo's XMP packet."""
        return metadata.read_digests(content, name=name)

    def write(self, caption: str, old: bytes | None, *, note: Note, name: str) -> bytes:
        """Return the photo with its caption; pixels are unchanged."""
        assert old is not None
        return metadata.embed(old, caption, fields=self.fields, mark=note.mark, name=name)
