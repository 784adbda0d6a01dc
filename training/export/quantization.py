"""Static int8 quantisation of a float32 ONNX file."""

import tempfile
from pathlib import Path

import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from service.photo import Pixels
from training.export.onnx_export import batches


def export_int8(float32: Path, path: Path, photos: Pixels, float32_share: float = 0) -> None:
    """Quantise a float32 file: static QDQ, int8 weights per channel, uint8 activations.

    The first convolution and the head stay float32: they cost little time, and their errors affect the result most.
    Activations are quantised after ReLU or clip, so that no bit is spent on values that are cut off. Weights have 7
    bits, because the 16-bit sums of CPUs without VNNI overflow with 8; the model then answers the same on all CPUs.

    Args:
        float32: the file to quantise.
        path: the file to write.
        photos: uint8 [N, S, S, 3], for the ranges of the activations.
        float32_share: share of the convolutions, from the end, that stay float32, in [0, 1].
    """
    with tempfile.TemporaryDirectory() as scratch:
        prepared = Path(scratch) / "prepared.onnx"
        quant_pre_process(float32, prepared)
        nodes = list(onnx.load(prepared).graph.node)
        convolutions = [index for index, node in enumerate(nodes) if node.op_type == "Conv"]
        first_float32 = convolutions[-max(1, round(float32_share * len(convolutions)))]
        quantize_static(
            prepared,
            path,
            _PhotoReader(photos),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Add", "MaxPool", "Relu", "Clip"],
            nodes_to_exclude=[nodes[convolutions[0]].name, *(node.name for node in nodes[first_float32:])],
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )


class _PhotoReader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, photos: Pixels) -> None:
        self._batches = batches(photos)

    def get_next(self) -> dict[str, Pixels] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"pixels": batch}
