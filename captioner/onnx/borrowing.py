"""Graphs without weights, which share the checkpoint's, in float32 or int8."""

from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import nn

from captioner.checkpoint.files import WEIGHTS
from captioner.onnx.files import borrow, int8, scale

_LAST, _TINY = "last_axis", "tiny"
"""Constants of a graph in eight bits."""

Stored = dict[str, tuple[str, str]]
"""By the name of each weight in the model, what the checkpoint calls it, and its type."""


def find_stored(model: nn.Module, weights: Path) -> Stored:
    """Find a model's weights in the checkpoint it was loaded from."""
    with safe_open(weights, "numpy") as checkpoint:
        types = {name: checkpoint.get_slice(name).get_dtype() for name in checkpoint.keys()}  # noqa: SIM118
    tensors = model.state_dict()
    places = {tensors[name].data_ptr(): name for name in types}  # tied weights are stored once
    names = {name: places[tensor.data_ptr()] for name, tensor in tensors.items()}
    return {name: (other, types[other]) for name, other in names.items()}


def quantise_matrices(path: Path, target: Path, stored: Stored) -> tuple[str, ...]:
    """Write a copy of a graph that multiplies by the checkpoint's matrices in int8.

    Weights have one scale per output channel. Activations are quantised dynamically, after every
    region is divided by its largest value: a few regions are ten times as large as the others, and
    with a common scale alone the features changed by 32 %, not 6. Products of activations stay in
    float32.

    Args:
        path: the graph, with its weights.
        target: the copy.
        stored: weights of the model.

    Returns:
        Names of the matrices in the checkpoint.
    """
    import onnx  # noqa: PLC0415  # an extra

    model = onnx.load(path)
    graph, nodes, done = model.graph, [], {}
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    transposed = {
        node.output[0]: node.input[0] for node in graph.node if node.op_type == "Transpose"
    }
    for node in graph.node:
        matrix = transposed.get(node.input[1], "") if node.op_type == "MatMul" else ""
        if matrix not in tensors or matrix not in stored:
            nodes.append(node)
            continue
        known, _ = stored[matrix]
        if known not in done:
            dims = tensors[matrix].dims
            done[known] = [
                _external(int8(known), onnx.TensorProto.INT8, dims),
                _external(scale(known), onnx.TensorProto.FLOAT, dims[:1]),
            ]
        nodes += _multiply_in_int8(node.input[0], known, node.output[0])
    graph.initializer.extend(tensor for pair in done.values() for tensor in pair)
    graph.initializer.append(onnx.helper.make_tensor(_LAST, onnx.TensorProto.INT64, [1], [-1]))
    graph.initializer.append(onnx.helper.make_tensor(_TINY, onnx.TensorProto.FLOAT, [], [1e-30]))
    _replace(graph.node, nodes)
    _drop_unused(graph)
    onnx.save(model, target)
    return tuple(done)


def _multiply_in_int8(x: str, matrix: str, y: str) -> list[Any]:
    """Make the nodes of y = x @ matrix.T."""
    import onnx  # noqa: PLC0415  # an extra

    def at(part: str) -> str:
        return f"{y}:{part}"

    node = onnx.helper.make_node
    return [
        node("Abs", [x], [at("abs")]),
        node("ReduceMax", [at("abs"), _LAST], [at("most")]),
        node("Max", [at("most"), _TINY], [at("largest")]),  # a region of zeros stays one
        node("Div", [x, at("largest")], [at("even")]),
        node("DynamicQuantizeLinear", [at("even")], [at("rounded"), at("step"), at("zero")]),
        node("Transpose", [int8(matrix)], [at("matrix")], perm=[1, 0]),
        node("MatMulInteger", [at("rounded"), at("matrix"), at("zero")], [at("whole")]),
        node("Cast", [at("whole")], [at("product")], to=onnx.TensorProto.FLOAT),
        node("Mul", [at("step"), scale(matrix)], [at("scales")]),
        node("Mul", [at("product"), at("scales")], [at("scaled")]),
        node("Mul", [at("scaled"), at("largest")], [y]),
    ]


def borrow_weights(path: Path, stored: Stored) -> tuple[str, ...]:
    """Make a graph share the checkpoint's weights; return their names there."""
    import onnx  # noqa: PLC0415  # an extra

    model = onnx.load(path, load_external_data=False)
    types = {"F16": onnx.TensorProto.FLOAT16, "F32": onnx.TensorProto.FLOAT}
    graph, borrowed, casts, own = model.graph, [], [], []
    for tensor in graph.initializer:
        known = stored.get(tensor.name)
        if known is None:
            own.append(tensor)
            continue
        name, kind = known
        if name not in borrowed:
            borrowed.append(name)
            own.append(_external(borrow(name), types[kind], tensor.dims))
        casts.append(
            onnx.helper.make_node("Cast", [borrow(name)], [tensor.name], to=onnx.TensorProto.FLOAT)
        )
    _replace(graph.node, [*casts, *graph.node])
    _replace(graph.initializer, own)
    _replace(graph.value_info, [])
    for part in (*graph.node, *graph.input, *graph.output, graph, model):
        part.ClearField("metadata_props")  # where in the source each node comes from
        part.ClearField("doc_string")
    onnx.save(model, path)
    return tuple(borrowed)


def _external(name: str, kind: int, dims: Any) -> Any:
    """Make a weight that is handed in when the graph is opened."""
    import onnx  # noqa: PLC0415  # an extra

    place = onnx.TensorProto(name=name, data_type=kind, dims=dims, data_location="EXTERNAL")
    place.external_data.add(key="location", value=WEIGHTS)
    return place


def _drop_unused(graph: Any) -> None:
    """Drop nodes, and then weights, that nothing asks for."""
    wanted = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):
        if wanted & set(node.output):
            wanted |= set(node.input)
            kept.append(node)
    _replace(graph.node, kept[::-1])
    _replace(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in wanted])


def _replace(items: Any, others: Any) -> None:
    others = list(others)
    del items[:]
    items.extend(others)
