"""The ONNX file for the page /inside: a model whose stages are outputs too, with their description."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from service.errors import SeeFoodError
from service.metadata import Metadata
from training.export.layer_table import Layer, Network, read_network

PROPERTY = "inside"  # metadata property with the description
DESCRIPTION, KERNELS = "description", "kernels"  # outputs that are the same for every photo


def write_inside(path: Path, output: Path) -> None:
    """Write a float32 model with further outputs; probability and heatmap stay as they are.

    The further outputs are the tensors that the description names, the kernels of the first convolution as `kernels`,
    float32 [channels, 3, h, w], and the description as `description`, UTF-8 JSON in uint8 [bytes], because browsers
    can't read the metadata properties. The same JSON is the property `inside`.

    Raises:
        SeeFoodError: the file is not a float32 seefood model with a convolution before its head, or the output can't be
            written.
    """
    if output.resolve() == path.resolve():
        raise SeeFoodError(f"{output} is the model itself; name another file with --output.")
    network = read_network(path)
    model = network.model
    properties = {each.key: each.value for each in model.metadata_props}
    try:
        description = _describe(path, network, Metadata.from_properties(properties))
    except ValueError as error:
        raise SeeFoodError(f"{path} is not a seefood model: {error}; export it with seefood train.") from error
    text = json.dumps(description)
    for name in _tensors(description):
        shape: list[str | int | None] = ["N", *network.shapes[name][1:]]
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    kernels = next(each for each in model.graph.initializer if each.name == description["first"]["weights"])
    _add_constant(model.graph, KERNELS, numpy_helper.to_array(kernels))
    _add_constant(model.graph, DESCRIPTION, np.frombuffer(text.encode(), np.uint8))
    helper.set_model_props(model, properties | {PROPERTY: text})
    draft = output.with_name(f".{output.name}.part")
    try:
        onnx.save(model, draft)
        draft.replace(output)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise SeeFoodError(f"{output} can't be written: {error.strerror}; name another file with --output.") from error


def _describe(path: Path, network: Network, metadata: Metadata) -> dict[str, Any]:
    """Return what the page needs to know; raises SeeFoodError."""
    nodes = network.model.graph.node
    if any(node.op_type == "DequantizeLinear" for node in nodes):
        raise SeeFoodError(f"{path} is quantised; name a version, or its float32 file.")
    to_heatmap = _ancestors(nodes, "heatmap")
    convolutions = [node for node in to_heatmap if node.op_type == "Conv" and node.output[0] in network.layers]
    if len(convolutions) < 2:
        raise SeeFoodError(f"{path} has no convolution before its head, so it has no stages; name another model.")
    first, head = convolutions[0], convolutions[-1]
    body = [node for node in _ancestors(nodes, head.input[0]) if any(name in network.fields for name in node.input)]
    layers = list(network.layers.values())
    return {
        "version": metadata.version,
        "backbone": metadata.backbone,
        "positive_label": metadata.positive_label,
        "negative_label": metadata.negative_label,
        "temperature": metadata.temperature,
        "threshold": metadata.threshold,
        "size": network.shapes[network.model.graph.input[0].name][1],
        "normalised": first.input[0],
        "stages": [
            _describe_stage(network, name, kind, tensor) for name, kind, tensor in _stages(network, body, first)
        ],
        "skip": _first_skip(network, body),
        "first": _window(network.layers[first.output[0]]) | {"weights": first.input[1]},
        "head": _window(network.layers[head.output[0]]),
        "total": {
            "parameters": sum(layer.parameters for layer in layers),
            "fully_connected": sum(layer.fully_connected for layer in layers),
        },
    }


def _describe_stage(network: Network, name: str, kind: str, tensor: str) -> dict[str, Any]:
    _, channels, height, width = network.shapes[tensor]
    field = network.fields[tensor]
    return {
        "name": name,
        "kind": kind,
        "output": tensor,
        "channels": channels,
        "height": height,
        "width": width,
        "receptive_field": field.size,
        "stride": field.step,
        "centre": field.centre,
    }


def _window(layer: Layer) -> dict[str, Any]:
    keys = ("name", "kernel", "stride", "padding", "dilation", "output", "parameters", "fully_connected")
    values = asdict(layer)
    return {key: values[key] for key in keys}


def _tensors(description: dict[str, Any]) -> list[str]:
    """Return the names of the tensors that a description names, each once."""
    names = [description["normalised"], *(stage["output"] for stage in description["stages"])]
    return list(dict.fromkeys([*names, *(description["skip"] or {}).values()]))


def _stages(network: Network, body: Sequence[onnx.NodeProto], first: onnx.NodeProto) -> list[tuple[str, str, str]]:
    """Return name, kind and output of each stage, in order.

    A stage ends where all later layers depend on one tensor only. The first convolution, its activation and each max
    pooling are stages of their own; the others have the names of the backbone's parts, such as layer1.
    """
    ends: dict[tuple[str, str], str] = {}
    name = kind = ""
    for node, is_only in _with_cuts(body):
        layer = network.layers.get(node.output[0])
        if node is first:
            name, kind = _part(network, node), "convolution"
        elif layer is not None and layer.kind == "max pooling" and is_only:
            pools = sum(each == "max pooling" for _, each in ends)
            name, kind = f"maxpool{pools + 1 if pools else ''}", "max pooling"
        elif layer is not None and layer.parameters:
            name, kind = _part(network, node), "stage"
        elif kind == "convolution":
            kind = "activation"
        if is_only and name:
            ends[name, kind] = node.output[0]
    return [(name, kind, tensor) for (name, kind), tensor in ends.items()]


def _part(network: Network, node: onnx.NodeProto) -> str:
    return network.layers[node.output[0]].name.split(".")[0]


def _with_cuts(nodes: Sequence[onnx.NodeProto]) -> Iterator[tuple[onnx.NodeProto, bool]]:
    """Yield nodes, each with whether all later ones depend on its output only."""
    uses = Counter(name for node in nodes for name in node.input)
    made = {name for node in nodes for name in node.output}
    live: set[str] = set()
    for node in nodes:
        for name in node.input:
            uses[name] -= 1
        live = {name for name in live | set(node.output) if uses[name] > 0}
        yield node, live <= {node.output[0]} and node.output[0] in made


def _first_skip(network: Network, body: Sequence[onnx.NodeProto]) -> dict[str, str] | None:
    """Return the tensors of the first sum of a block's input and its last layer; None if there is no such sum."""
    order = [name for node in body for name in node.output]
    for node in body:
        if node.op_type == "Add" and all(name in network.fields for name in node.input):
            source, branch = sorted(node.input, key=order.index)
            return {"input": source, "branch": branch, "sum": node.output[0]}
    return None


def _ancestors(nodes: Sequence[onnx.NodeProto], tensor: str) -> list[onnx.NodeProto]:
    """Return the nodes that a tensor depends on, in the order of the file."""
    needed, found = {tensor}, []
    for node in reversed(nodes):
        if needed & set(node.output):
            needed |= set(node.input)
            found.append(node)
    return found[::-1]


def _add_constant(graph: onnx.GraphProto, name: str, value: np.ndarray[Any, Any]) -> None:
    tensor = numpy_helper.from_array(value, f"{name}_value")
    graph.initializer.append(tensor)
    graph.node.append(helper.make_node("Identity", [tensor.name], [name]))
    graph.output.append(helper.make_tensor_value_info(name, tensor.data_type, value.shape))
