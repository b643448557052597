"""The first of the captions in a file; None if it has none."""

from captioner.metadata import read_captions, read_sidecar_captions


def read_caption(data: bytes, *, name: str) -> str | None:
    return next(iter(read_captions(data, name=name)), None)


def read_sidecar(existing: bytes, *, name: str) -> str | None:
    return next(iter(read_sidecar_captions(existing, name=name)), None)
