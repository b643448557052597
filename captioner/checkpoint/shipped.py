"""Checkpoints by name: those in the installed package, and those in a checkout.

The checkpoint NAME is `checkpoints/NAME/model.safetensors`, beside its model card.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from captioner.checkpoint.files import DESCRIPTION, WEIGHTS
from captioner.checkpoint.header import read_header
from captioner.checkpoint.hub.fetch import PREFIX, fetch
from captioner.checkpoint.known import KNOWN
from captioner.errors import CheckpointError
from captioner.pretrained.files import is_pretrained

DEFAULT = "vit-tiny-transformer"
"""Default checkpoint."""


@dataclass(frozen=True, kw_only=True)
class CheckpointInfo:
    """Summary of a checkpoint."""

    name: str
    """Name to load it by."""
    path: Path
    """Path of its file."""
    decoder: str
    """Kind of decoder: `lstm`, `gru`, `transformer`, ..."""
    encoder: str
    """timm name of the backbone."""
    parameters: int
    """Number of parameters, encoder included."""
    scores: dict[str, Any]
    """Scores by data set and metric, as fractions."""


def find_checkpoint(name_or_path: str | Path = DEFAULT) -> Path:
    """Find a checkpoint by name, path or address.

    Args:
        name_or_path: name of a shipped checkpoint, or of one in `KNOWN`, which is downloaded; a
            `.safetensors` file, or another file of an export; a folder with `model.safetensors` or
            a pretrained captioner; or `hf:OWNER/NAME` on the Hugging Face hub, optionally with
            `@REVISION`. Names take precedence over files.

    Returns:
        The file, or the folder of a pretrained captioner.

    Raises:
        CheckpointError: there is no such name, file or repository.
        MissingExtraError: it is on the hub, and huggingface_hub is not installed.
    """
    known = _shipped()
    text, path = str(name_or_path), Path(name_or_path)
    if text.startswith(PREFIX):
        return fetch(text)
    if text in known:
        return known[text]
    if text in KNOWN:
        return fetch(KNOWN[text].address)
    if path.suffix == ".onnx" or path.name == DESCRIPTION:
        path = path.with_name(WEIGHTS)
    if path.is_file():
        return path
    if path.is_dir():
        if is_pretrained(path):
            return path
        if (path / WEIGHTS).is_file():
            return path / WEIGHTS
        raise CheckpointError(f"{path}: this folder holds no {WEIGHTS}; give the file itself.")
    if len(path.parts) > 1 or path.suffix:
        raise CheckpointError(f"{path}: no such checkpoint file; check the path.")
    if not known:
        raise CheckpointError(
            f"No checkpoint is called {text!r}: this copy of captioner has none; "
            "give the path of a .safetensors file."
        )
    near = get_close_matches(text, [*known, *KNOWN], n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise CheckpointError(
        f"No checkpoint is called {text!r}.{hint} "
        f"Choose from {', '.join((*known, *KNOWN))}, or give the path of a .safetensors file."
    )


def list_checkpoints() -> list[CheckpointInfo]:
    """Summarise the shipped checkpoints from their headers, by name, the default one first.

    Raises:
        CheckpointError: a checkpoint is damaged.
    """
    return [_describe(name, path) for name, path in _shipped().items()]


def _describe(name: str, path: Path) -> CheckpointInfo:
    header = read_header(path)
    return CheckpointInfo(
        name=name,
        path=path,
        decoder=header.model.decoder.label,
        encoder=header.model.encoder.backbone,
        parameters=header.parameters,
        scores=header.scores,
    )


def _shipped() -> dict[str, Path]:
    """Return the files of the checkpoints by name, the default one first."""
    files = [file for folder in _folders() for file in folder.glob(f"*/{WEIGHTS}")]
    found = {file.parent.name: file for file in files}
    return {name: found[name] for name in sorted(found, key=lambda n: (n != DEFAULT, n))}


def _folders() -> Iterator[Path]:
    """Yield the folders of checkpoints; for a name in both, the later one counts."""
    package = Path(__file__).parent.parent
    yield package / "checkpoints"
    if (package.parent / "pyproject.toml").is_file():  # a checkout, not site-packages
        yield package.parent / "checkpoints"
