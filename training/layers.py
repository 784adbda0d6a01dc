"""A network layer by layer, read off its ONNX file: what each layer looks at, and what it costs."""

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from service.errors import SeeFoodError

Shape = tuple[int, ...]

_KINDS = {
    "Conv": "convolution",
    "MaxPool": "max pooling",
    "AveragePool": "average pooling",
    "GlobalAveragePool": "average",
    "ReduceMean": "average",
}


@dataclass(frozen=True)
class Layer:
    """One convolution, pooling or average.

    Attributes:
        name: where it stands in the network, as far as the file tells.
        kind: convolution, max pooling, average pooling, or average (over all that is left).
        kernel, stride, padding, dilation: along one side, in pixels of the layer's input.
        output: channels, height and width.
        receptive_field: side of the square of the photo that one output sees, in pixels; padding counts, so that it can
            be larger than the photo (Araujo et al. 2019, doi:10.23915/distill.00021).
        parameters: weights and biases, those of a batch norm folded in.
        fully_connected: weights and biases of a layer from every input to every output instead; 0 for a pooling.
    """

    name: str
    kind: str
    kernel: int
    stride: int
    padding: int
    dilation: int
    output: Shape
    receptive_field: int
    parameters: int
    fully_connected: int


def layers(path: Path) -> list[Layer]:
    """List the layers of an ONNX file in the order that a photo passes them; raises SeeFoodError."""
    try:
        model = onnx.load(path)
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
        graph = onnx.shape_inference.infer_shapes(model).graph
    except (OSError, ValueError, IndexError, DecodeError) as error:
        raise SeeFoodError(f"{path} can't be read as an ONNX file: {error}.") from error
    shapes = {value.name: _shape(value) for value in (*graph.value_info, *graph.input, *graph.output)}
    weights = {tensor.name: (tensor.name, tuple(tensor.dims)) for tensor in graph.initializer}
    seen = {graph.input[0].name: (1, 1)}  # of each tensor: its receptive field, and the step between two of its places
    found = []
    for node in graph.node:
        source = node.input[0]
        if source in weights and node.op_type == "DequantizeLinear":  # a quantised weight is as many numbers
            weights[node.output[0]] = weights[source]
        inputs = [seen[name] for name in node.input if name in seen]
        if not inputs:
            continue
        field, step = max(inputs)
        if node.op_type in _KINDS:
            before, after = shapes[source][1:], shapes[node.output[0]][1:]
            learnt = [weights[name] for name in node.input[1:] if name in weights] if node.op_type == "Conv" else []
            kernel, stride, padding, dilation = _window(node, learnt[0][1] if learnt else before)
            field += (kernel - 1) * dilation * step
            found.append(
                Layer(
                    learnt[0][0].rpartition(".")[0].removeprefix("features.") if learnt else node.op_type.lower(),
                    _KINDS[node.op_type],
                    kernel,
                    stride,
                    padding,
                    dilation,
                    after if len(after) == 3 else (1, 1, 1),
                    field,
                    sum(prod(shape) for _, shape in learnt),
                    (prod(before) + 1) * prod(after) if learnt else 0,
                )
            )
            step *= stride
        seen |= dict.fromkeys(node.output, (field, step))
    return found


def _shape(value: onnx.ValueInfoProto) -> Shape:
    return tuple(dimension.dim_value for dimension in value.type.tensor_type.shape.dim)


def _window(node: onnx.NodeProto, shape: Shape) -> tuple[int, int, int, int]:
    """Return kernel, stride, padding and dilation; a kernel that is not named is as large as the weight, or as all."""
    named: dict[str, Any] = {option.name: onnx.helper.get_attribute_value(option) for option in node.attribute}
    options = {"kernel_shape": [shape[-1]], "strides": [1], "pads": [0], "dilations": [1]} | named
    return options["kernel_shape"][0], options["strides"][0], options["pads"][0], options["dilations"][0]
