"""Checkpoint -> folder with ONNX graphs, checked against PyTorch."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch

from captioner.checkpoint.files import DESCRIPTION, WEIGHTS
from captioner.checkpoint.weights import load_checkpoint, save_checkpoint
from captioner.durable import explained
from captioner.errors import CaptionerError, CheckpointError
from captioner.model import CaptionModel
from captioner.onnx.files import write_export
from captioner.onnx.graphs import write_graphs
from captioner.onnx.runner import OnnxCaptioner

TOLERANCE = 1e-4
"""How far logits of a float export may be from those of PyTorch."""

_CHECKED_WORDS = 6


def export_onnx(checkpoint: Path, folder: Path) -> float:
    """Write a checkpoint as an ONNX export, and compare it with the checkpoint.

    Args:
        checkpoint: file to read, or the folder of a pretrained captioner.
        folder: of the export; created if missing, and files of an earlier export are replaced.

    Returns:
        The largest difference of any logit or attention weight from PyTorch's, on noise.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
        CaptionerError: the network cannot be written as ONNX, differs from PyTorch by more than
            `TOLERANCE`, or the folder cannot be written.
    """
    model, header = load_checkpoint(checkpoint)
    with explained(folder, raised=CheckpointError, option="--output"):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as made:
            unfinished = Path(made)
            if checkpoint.is_dir():  # of others; the graphs borrow from a file of ours
                save_checkpoint(unfinished / WEIGHTS, model, header, half=False)
                checkpoint = unfinished / WEIGHTS
            else:
                shutil.copyfile(checkpoint, unfinished / WEIGHTS)
            export = write_graphs(model, unfinished, header=header, weights=checkpoint)
            words = min(_CHECKED_WORDS, header.search.max_words)
            write_export(unfinished, export)
            off = compare(model, OnnxCaptioner(unfinished), words=words)
            if not off <= TOLERANCE:
                raise CaptionerError(
                    f"{folder}: the export would differ from PyTorch by {off:.1e}, more than "
                    f"{TOLERANCE:.0e}; try another version of torch or onnxruntime."
                )
            for name in (WEIGHTS, *export.borrowed, DESCRIPTION):  # the last makes it an export
                if not (folder / name).exists() or not (folder / name).samefile(checkpoint):
                    shutil.move(unfinished / name, folder / name)
    return off


@torch.inference_mode()
def compare(model: CaptionModel, runner: OnnxCaptioner, *, words: int) -> float:
    """Return the largest difference of any logit or attention weight over some words.

    Two images of noise go through both, with two hypotheses each.
    """
    config = runner.header.preprocess
    noise = np.random.default_rng(0).integers(0, 256, (2, config.height, config.width, 3), np.uint8)
    photos = [runner.prepare(image) for image in noise]
    pixels = torch.from_numpy(np.stack([photo.pixels for photo in photos]))
    state = model.decoder.init_state(model.encoder(pixels))
    decoder = runner.decoder
    other = decoder.init_state(runner.encode(photos))
    latest = torch.ones(2, 1, dtype=torch.long)
    off = 0.0
    for t in range(words):
        output, state = model.decoder.step_with_attention(latest, state)
        again, other = decoder.step_with_attention(latest.numpy(), other)
        assert output.attention is not None
        pairs = ((output.logits, again.logits), (output.attention, again.attention))
        off = max([off, *(float(np.abs(x.numpy() - y).max()) for x, y in pairs)])
        latest = output.logits[:, :, 0].argmax(dim=-1)
        if t == 0:
            latest = output.logits[:, 0, 0].topk(2).indices
            parents = torch.zeros_like(latest)
            state, other = state.reorder(parents), other.reorder(parents.numpy())
    return off
