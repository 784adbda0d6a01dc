"""The layers of an ONNX file: kernel, output, receptive field and number of parameters."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import onnx
from google.protobuf.message import DecodeError

from service.errors import SeeFoodError

Shape = tuple[int, ...]
Pair = tuple[int, int]
Offsets = tuple[float, float]

HEADING = (
    "layer",
    "kind",
    "kernel",
    "stride",
    "padding",
    "dilation",
    "output",
    "field",
    "parameters",
    "fully connected",
)
_WITH_WEIGHTS = ("Conv", "BatchNormalization")  # their second and third inputs are weights
_KINDS = {
    "Conv": "convolution",
    "BatchNormalization": "batch norm",
    "MaxPool": "max pooling",
    "AveragePool": "average pooling",
    "GlobalAveragePool": "average",
    "ReduceMean": "average",
}


@dataclass(frozen=True)
class Layer:
    """One convolution, pooling, average, or batch norm that the export could not fold into a convolution.

    Attributes:
        name: name in the network, or the operator if the file has no name.
        kind: convolution, batch norm, max pooling, average pooling, or average (over the whole grid).
        kernel, stride, padding, dilation: vertical and horizontal, in pixels of the layer's input.
        output: channels, height and width.
        receptive_field: longer side of the receptive field of one output, in pixels of the photo. Padding counts, so it
            can be larger than the photo (Araujo et al. 2019, doi:10.23915/distill.00021).
        parameters: number of weights and biases, including those of a folded batch norm.
        fully_connected: number of weights and biases of a fully connected layer with the same input and output; 0 if
            the layer is not a convolution.
    """

    name: str
    kind: str
    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    output: Shape
    receptive_field: int
    parameters: int
    fully_connected: int

    def cells(self) -> tuple[str, ...]:
        """Return the layer as text, one cell for each name in HEADING; equal sides are one number."""
        windows = (self.kernel, self.stride, self.padding, self.dilation)
        return (
            self.name,
            self.kind,
            *(str(down) if down == across else f"{down} x {across}" for down, across in windows),
            " x ".join(map(str, self.output)),
            str(self.receptive_field),
            f"{self.parameters:,}",
            f"{self.fully_connected:,}" if self.fully_connected else "-",
        )


class Field(NamedTuple):
    """The receptive fields of a tensor, vertically and horizontally, in pixels of the photo.

    Attributes:
        size: sides of the receptive field of one value.
        step: distance between the fields of two neighbouring values.
        centre: centre of the field of the first value; 0 is the centre of the first pixel.
    """

    size: Pair
    step: Pair
    centre: Offsets


@dataclass(frozen=True)
class Network:
    """An ONNX file and what follows from it.

    Attributes:
        model: the file.
        shapes: shape of each tensor for one photo.
        fields: receptive fields of each tensor that depends on the photo.
        layers: by the name of the tensor that is their output, in the order of the forward pass.
    """

    model: onnx.ModelProto
    shapes: Mapping[str, Shape]
    fields: Mapping[str, Field]
    layers: Mapping[str, Layer]


def read_layers(path: Path) -> list[Layer]:
    """Return the layers of an ONNX file in the order of the forward pass; raises SeeFoodError."""
    layers = [*read_network(path).layers.values()]
    if not any(layer.fully_connected for layer in layers):
        raise SeeFoodError(f"{path} has no convolution; name a model file of seefood train.")
    return layers


def read_network(path: Path) -> Network:
    """Read an ONNX file; raises SeeFoodError."""
    try:
        model = onnx.load(path)
        fixed = onnx.ModelProto()
        fixed.CopyFrom(model)
        fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
        graph = onnx.shape_inference.infer_shapes(fixed).graph
    except (OSError, ValueError, IndexError, DecodeError) as error:
        raise SeeFoodError(f"{path} can't be read as an ONNX file: {error}; name a model file.") from error
    shapes = {value.name: _shape(value) for value in (*graph.value_info, *graph.input, *graph.output)}
    weights = {tensor.name: (tensor.name, tuple(tensor.dims)) for tensor in graph.initializer}
    fields = {graph.input[0].name: Field((1, 1), (1, 1), (0, 0))}
    layers = {}
    for node in graph.node:
        source = node.input[0] if node.input else ""
        if source in weights and node.op_type == "DequantizeLinear":  # a quantised weight has the same shape
            weights[node.output[0]] = weights[source]
        inputs = [fields[name] for name in node.input if name in fields]
        if not inputs:
            continue
        field = max(inputs)
        if node.op_type in _KINDS:
            before, after = shapes[source][1:], shapes[node.output[0]][1:]
            params = (
                [weights[name] for name in node.input[1:3] if name in weights] if node.op_type in _WITH_WEIGHTS else []
            )
            kernel, stride, padding, dilation = _window(node, params[0][1] if params else before)
            field = _through(field, kernel, stride, padding, dilation)
            layers[node.output[0]] = Layer(
                params[0][0].rpartition(".")[0].removeprefix("features.") if params else node.op_type.lower(),
                _KINDS[node.op_type],
                kernel,
                stride,
                padding,
                dilation,
                after if len(after) == 3 else (1, 1, 1),
                max(field.size),
                sum(prod(shape) for _, shape in params),
                (prod(before) + 1) * prod(after) if node.op_type == "Conv" else 0,
            )
        fields |= dict.fromkeys(node.output, field)
    return Network(model, shapes, fields, layers)


def _through(field: Field, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Field:
    """Return the receptive fields of the output of a layer for those of its input."""
    reach = [(kernel[i] - 1) * dilation[i] for i in (0, 1)]
    top, left = (field.centre[i] + (reach[i] / 2 - padding[i]) * field.step[i] for i in (0, 1))
    return Field(
        _pair(field.size[i] + reach[i] * field.step[i] for i in (0, 1)),
        _pair(field.step[i] * stride[i] for i in (0, 1)),
        (top, left),
    )


def _shape(value: onnx.ValueInfoProto) -> Shape:
    return tuple(dimension.dim_value for dimension in value.type.tensor_type.shape.dim)


def _window(node: onnx.NodeProto, shape: Shape) -> tuple[Pair, Pair, Pair, Pair]:
    """Return kernel, stride, padding and dilation; the default kernel has the size of the weight or grid."""
    named: dict[str, Any] = {option.name: onnx.helper.get_attribute_value(option) for option in node.attribute}
    whole = (1, 1) if node.op_type == "BatchNormalization" else shape[-2:]
    options = {"kernel_shape": whole, "strides": (1, 1), "pads": (0, 0), "dilations": (1, 1)} | named
    kernel, stride, padding, dilation = (
        _pair(options[name][:2]) for name in ("kernel_shape", "strides", "pads", "dilations")
    )
    return kernel, stride, padding, dilation


def _pair(values: Iterable[int]) -> Pair:
    down, across = values
    return down, across
