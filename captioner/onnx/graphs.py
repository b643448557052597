"""The network as ONNX graphs: encode a photo, start a caption, read a word.

Both come from `torch.export`, through the exporter that PyTorch calls dynamo, with any number of
images, hypotheses and words. The operator set is 18: the one that exporter is written in, so
nothing is converted, and every onnxruntime since 1.14 runs it.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.export import Dim

from captioner.checkpoint.files import ENCODER, ENCODER_INT8, EVIDENCE, GRAPHS, START, STEP
from captioner.checkpoint.header import Header
from captioner.decoders.contract import Decoder, DecoderState, map_tensors
from captioner.errors import CaptionerError, MissingExtraError
from captioner.model import CaptionModel
from captioner.onnx.borrowing import borrow_weights, find_stored, quantise_matrices
from captioner.onnx.files import Export

OPSET = 18
"""Version of the operators."""

_IMAGES, _HYPOTHESES, _WORDS = 5, 3, 2
"""Sizes to trace with; all different, and none of them 1, which would be taken for fixed."""

_MANY = 2**20

Tensors = tuple[Tensor, ...]


class Graph(nn.Module):
    """A function of one part of a model, under the part's name, as its weights are in checkpoints.

    Args:
        run: computes the outputs from the part and the inputs.
        **part: `encoder` or `decoder`.
    """

    def __init__(self, run: Callable[..., Any], **part: nn.Module) -> None:
        super().__init__()
        ((self._name, module),) = part.items()
        self.add_module(self._name, module)
        self._run = run

    def forward(self, *inputs: Any) -> Any:
        """Return the outputs."""
        return self._run(getattr(self, self._name), *inputs)


def _start(decoder: Decoder, features: Float[Tensor, "B P D"]) -> Tensors:
    """Return memory, then past, of the state before the first word."""
    state = decoder.init_state(features)
    # Each output has one name: what the state holds twice becomes two tensors.
    return tuple(x.clone() for x in (*_tensors(state.memory), *_tensors(state.past)))


def _step(
    like: DecoderState, decoder: Decoder, words: Int[Tensor, "B K"], memory: Tensors, past: Tensors
) -> Tensors:
    """Return logits (B, K, V), what `seen` names, and the grown past, given a state's tensors."""
    state = DecoderState(memory=_fill(like.memory, memory), past=_fill(like.past, past))
    output, state = decoder.step_with_attention(words, state)
    seen = _seen(output._asdict()).values()
    return (output.logits[:, :, 0], *seen, *_tensors(state.past))


def write_graphs(model: CaptionModel, folder: Path, *, header: Header, weights: Path) -> Export:
    """Write the graphs of a model in float32, and that of the encoder in int8, too.

    Args:
        model: in evaluation mode, on the CPU.
        folder: where to.
        header: of the model.
        weights: the checkpoint that the model was loaded from, whose weights the graphs share.

    Returns:
        Their description.

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
        CaptionerError: an operation of the encoder has no counterpart in ONNX.
    """
    images, hypotheses = Dim("B", max=_MANY), Dim("K", max=_MANY)
    longest = model.decoder.longest
    length = Dim("T", max=_MANY if longest is None else longest)
    with torch.no_grad():
        pixels = torch.zeros(_IMAGES, 3, header.preprocess.height, header.preprocess.width)
        features = model.encoder(pixels)
        state = model.decoder.init_state(features)
        state = state.reorder(torch.zeros(_IMAGES, _HYPOTHESES, dtype=torch.long))
        words = torch.zeros(_IMAGES, _HYPOTHESES, dtype=torch.long)
        shorter = state
        for _ in range(_WORDS):
            shorter = state
            output, state = model.decoder.step_with_attention(words, state)
    memory, past = _tensors(state.memory), _tensors(state.past)
    export = Export(
        header=header,
        grid=model.encoder.grid,
        memory=tuple(f"memory_{i}" for i in range(len(memory))),
        past=tuple(f"past_{i}" for i in range(len(past))),
        seen=tuple(_seen(output._asdict())),
        borrowed={},
        quantised=(),
    )
    _write(
        Graph(lambda encoder, pixels: encoder(pixels), encoder=model.encoder),
        (pixels,),
        folder / ENCODER,
        inputs=["pixels"],
        outputs=["features"],
        shapes=({0: images},),
    )
    _write(
        Graph(_start, decoder=model.decoder),
        (features,),
        folder / START,
        inputs=["features"],
        outputs=[*export.memory, *export.past],
        shapes=({0: images},),
    )
    grows = [_growing(x, y) for x, y in zip(_tensors(shorter.past), past, strict=True)]
    _write(
        Graph(partial(_step, state), decoder=model.decoder),
        (words, memory, past),
        folder / STEP,
        inputs=["words", *export.memory, *export.past],
        outputs=["logits", *export.seen, *(f"grown_{name}" for name in export.past)],
        shapes=(
            {0: images, 1: hypotheses},
            tuple({0: images} for _ in memory),
            tuple({0: images, 1: hypotheses, **dict.fromkeys(axes, length)} for axes in grows),
        ),
    )
    graphs = [*GRAPHS]
    assert output.attention is not None
    deciding = output.attention[:, :, -1, :, 0].transpose(1, 2)  # as if of one caption's words
    if model.decoder.has_evidence:
        graphs.append(EVIDENCE)
        _write(
            Graph(type(model.decoder).evidence, decoder=model.decoder),
            (features, words, deciding),
            folder / EVIDENCE,
            inputs=["features", "words", "attention"],
            outputs=["evidence"],
            shapes=({0: images}, {0: images, 1: length}, {0: images, 2: length}),
        )
    stored = find_stored(model, weights)
    quantised = quantise_matrices(folder / ENCODER, folder / ENCODER_INT8, stored)
    borrowed = {name: borrow_weights(folder / name, stored) for name in graphs}
    return replace(export, borrowed=borrowed, quantised=quantised)


def _write(
    graph: nn.Module,
    arguments: tuple[Any, ...],
    path: Path,
    *,
    inputs: list[str],
    outputs: list[str],
    shapes: tuple[Any, ...],
) -> None:
    try:
        import onnx  # noqa: F401, PLC0415  # an extra
        import onnxscript  # noqa: F401, PLC0415
    except ImportError as error:
        raise MissingExtraError(
            f'Exporting needs {error.name}: pip install "captioner[export]"'
        ) from error
    try:
        with warnings.catch_warnings(), torch.no_grad():
            # A name of a size that several inputs share, and PyTorch's own future.
            warnings.simplefilter("ignore")
            # Traced here, as the exporter would fix a size by itself that the graph is fixed to.
            traced = torch.export.export(graph.eval(), arguments, dynamic_shapes=(shapes,))
            torch.onnx.export(
                traced,
                (),
                path,
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes=(shapes,),  # for their names
                input_names=inputs,
                output_names=outputs,
                external_data=False,
                optimize=False,  # it stores weights transposed, under other names
                verbose=False,
            )
    except Exception as error:  # whatever the encoder's code does not let itself be traced for
        reason = str(error.__cause__ or error).strip().partition("\n")[0]
        raise CaptionerError(
            f"{path.name}: the network cannot be written as ONNX ({reason}); "
            "its encoder may need another operator: try another PyTorch or backbone."
        ) from error


def _seen(output: dict[str, Tensor | None]) -> dict[str, Tensor]:
    """Return the attention of one word, without its axis of length 1."""
    seen = {}
    for name in ("attention", "between_words"):
        if (weights := output[name]) is not None:
            seen[name] = weights[..., 0, :]
    if (gate := output["gate"]) is not None:
        seen["gate"] = gate[..., 0]
    return seen


def _tensors(tree: Any) -> Tensors:
    found: list[Tensor] = []
    map_tensors(found.append, tree)
    return tuple(found)


def _fill(tree: Any, tensors: Tensors) -> Any:
    """Put other tensors in the place of those in a tree, in the order of `_tensors`."""
    others: Iterator[Tensor] = iter(tensors)
    return map_tensors(lambda _: next(others), tree)


def _growing(before: Tensor, after: Tensor) -> list[int]:
    """Axes along which a tensor of the past grows with every word."""
    sizes = zip(before.shape, after.shape, strict=True)
    return [axis for axis, (small, large) in enumerate(sizes) if small != large]
