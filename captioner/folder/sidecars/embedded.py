"""Captions inside photos."""

from captioner.folder.sidecars.contract import Sidecar


class Embedded(Sidecar):
    """The photo itself, whose metadata hold its caption."""

    kind = "photo"
    shown = True
    inside = True

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

        return metadata.read_captions(content, name=name)

    def write(self, caption: str, old: bytes | None, *, over_exif: bool, name: str) -> bytes:
        """The photo with its caption, no pixel touched."""
        from captioner import metadata

        assert old is not None
        return metadata.embed(old, caption, name=name)
