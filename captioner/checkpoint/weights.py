"""Save and load a model with its settings and vocabulary as one file, without pickle."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor

from captioner.checkpoint.header import METADATA_KEY, Header, format_header, read_header
from captioner.durable import explained, replace_file, sync_folder
from captioner.errors import CheckpointError, ConfigError, wrap_library_errors
from captioner.model import CaptionModel, build_model
from captioner.pretrained.families import read_pretrained
from captioner.pretrained.files import is_pretrained
from captioner.pretrained.weights import list_weights, load_weights

__all__ = ["Header", "load_checkpoint", "read_header", "save_checkpoint"]


def save_checkpoint(path: Path | str, model: CaptionModel, header: Header, *, half: bool) -> None:
    """Write weights and header to one file, atomically.

    Args:
        path: file to write or replace; missing folders are created.
        model: the model, on any device.
        header: its header; `parameters` is counted here.
        half: store matrices in float16, which halves the file. Vectors (norms, biases) keep their
            format: they are small, and batch variances can exceed float16's range.

    Raises:
        CheckpointError: the file cannot be written.
    """
    path = Path(path)
    header = replace(header, parameters=sum(p.numel() for p in model.parameters()))
    tensors = {name: x.detach().cpu().contiguous() for name, x in model.state_dict().items()}
    if half:
        tensors = {
            name: x.half() if x.is_floating_point() and x.dim() >= 2 else x
            for name, x in tensors.items()
        }
    written = save(tensors, metadata={METADATA_KEY: format_header(header)})
    with explained(path, raised=CheckpointError):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, written)
        sync_folder(path.parent)


def load_checkpoint(
    path: Path | str, *, device: torch.device | str = "cpu"
) -> tuple[CaptionModel, Header]:
    """Load a model in float32 and evaluation mode, with its header.

    Args:
        path: as in `read_header`.
        device: device to load to.

    Raises:
        CheckpointError: the file does not exist, is not a checkpoint, is damaged, has a newer
            format, or its weights do not fit its settings.
    """
    header = read_header(path)
    if is_pretrained(Path(path)):
        model = _build_empty(path, header)
        load_weights(model, Path(path), rules=read_pretrained(Path(path))[0].rules)
        parameters = sum(p.numel() for p in model.parameters())
        return model.to(device).eval(), replace(header, parameters=parameters)
    model = _build_empty(path, header)
    with wrap_library_errors(
        CheckpointError,
        lambda error: (
            f"{path}: its weights cannot be read ({error}); download or save the checkpoint again."
        ),
        of=(SafetensorError, OSError),
    ):
        stored = list_weights(Path(path))
        _check_fit(model.state_dict(), {name: shape for name, (shape, _) in stored.items()}, path)
        tensors = ((name, read()) for name, (_, read) in stored.items())
        state = {name: x.float() if x.is_floating_point() else x for name, x in tensors}
    model.load_state_dict(state, assign=True)
    return model.to(device).eval(), header


def _build_empty(path: Path | str, header: Header) -> CaptionModel:
    """Build a model on the meta device, or with memory if a part of it needs values."""
    try:
        with torch.device("meta"):
            model = _build(path, header)
    except CheckpointError:  # some layers cannot be built there
        return _build(path, header)
    loaded = model.state_dict()
    if all(name in loaded for name, _ in model.named_buffers()):
        return model
    return _build(path, header)


def _build(path: Path | str, header: Header) -> CaptionModel:
    try:
        return build_model(header.model, preprocess=header.preprocess, words=len(header.tokenizer))
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except Exception as error:  # torch and timm raise anything for extreme settings
        raise CheckpointError(
            f"{path}: no model can be built from its settings ({error}); "
            "download or save the checkpoint again."
        ) from error


def _check_fit(
    expected: Mapping[str, Tensor], found: Mapping[str, tuple[int, ...]], path: Path | str
) -> None:
    """Compare names and shapes, and report the first difference."""
    for name in [*expected, *found]:
        if name not in found:
            problem = f"{name} is missing"
        elif name not in expected:
            problem = f"the model has no {name}"
        elif tuple(expected[name].shape) != found[name]:
            problem = f"{name} is {found[name]}, the model needs {tuple(expected[name].shape)}"
        else:
            continue
        raise CheckpointError(
            f"{path}: its weights do not fit its settings: {problem}; "
            "download or save the checkpoint again."
        )
