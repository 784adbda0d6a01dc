"""The network as ONNX files, float32 and int8, and the gates that they must pass before anyone is served by them."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from sklearn.metrics import roc_auc_score

from service.errors import SeeFoodError
from service.metadata import Metadata
from service.photo import Pixels
from service.self_test import digest, reference_square
from training.model.classifier import Classifier

Floats = npt.NDArray[np.float32]

PARITY_PHOTOS = 64  # at least so many are compared
PARITY_TOLERANCE = 1e-4  # of probability, ONNX Runtime float32 against PyTorch
INT8_ACCURACY_LOSS = 0.01
INT8_AUC_LOSS = 0.005
FLOAT32_SHARES = (0, 0.5, 1)  # of the convolutions, the last; the first with which an int8 file passes is taken
_ROUNDING = 1e-9  # 1 - 0.99 is not quite 0.01
_BATCH_SIZE = 16


class GateError(SeeFoodError):
    """An exported file does not answer as the trained network does; it must not be served."""


def export_float32(network: Classifier, path: Path) -> None:
    """Write the network as one ONNX file: uint8 [N, S, S, 3] `pixels` in, and what its `forward` returns out."""
    network = network.eval().to("cpu", torch.float32)
    program = torch.onnx.export(
        network,
        (torch.zeros(2, network.size, network.size, 3, dtype=torch.uint8),),
        input_names=["pixels"],
        output_names=["probability", "heatmap", "familiarity"],
        dynamic_shapes={"pixels": {0: torch.export.Dim("N")}},
        dynamo=True,
        verbose=False,
    )
    assert program is not None, "torch.onnx.export returns a program when dynamo is on"  # noqa: S101 - for mypy
    program.save(path, external_data=False)
    model = onnx.load(path)
    for thing in (model.graph, *model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info):
        del thing.metadata_props[:]  # the exporter's notes: stack traces with the paths of this machine
    onnx.save(model, path)


def export_int8(float32: Path, path: Path, photos: Pixels, float32_share: float = 0) -> None:
    """Quantise a float32 file: static QDQ, weights int8 per channel, activations uint8 ranged on uint8 [N, S, S, 3].

    The first convolution's errors reach every other layer, and the head's one output is the verdict: both stay float32,
    for little time. An activation is ranged after its ReLU or clip, so that no bit is spent on what those cut
    off. Weights have 7 bits, because CPUs without VNNI add two products of 8 bits in 16, which overflow;
    so a model answers the same on either kind. What comes after all but a share of the convolutions stays float32 too.
    """
    with tempfile.TemporaryDirectory() as scratch:
        prepared = Path(scratch) / "prepared.onnx"
        quant_pre_process(float32, prepared)
        nodes = list(onnx.load(prepared).graph.node)
        convolutions = [index for index, node in enumerate(nodes) if node.op_type == "Conv"]
        head = convolutions[-max(1, round(float32_share * len(convolutions)))]
        quantize_static(
            prepared,
            path,
            _Reader(photos),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Add", "MaxPool", "Relu", "Clip"],
            nodes_to_exclude=[nodes[convolutions[0]].name, *(node.name for node in nodes[head:])],
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )


def stamp(path: Path, metadata: Metadata) -> None:
    """Write the metadata properties into an ONNX file, and what it answers to the reference square."""
    model = onnx.load(path)
    size = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    square = reference_square(size)
    probability = round(float(probabilities(path, square[None])[0]), 6)
    metadata = replace(metadata, reference_digest=digest(square), reference_probability=probability)
    onnx.helper.set_model_props(model, metadata.to_properties())
    onnx.save(model, path)


def check_float32(network: Classifier, path: Path, photos: Pixels) -> float:
    """Return the largest difference in probability between ONNX Runtime and PyTorch on uint8 [N, S, S, 3] photos.

    Raises:
        GateError: it is above PARITY_TOLERANCE, or fewer than PARITY_PHOTOS photos were given.
    """
    if len(photos) < PARITY_PHOTOS:
        raise GateError(f"The export was compared on {len(photos)} photos; at least {PARITY_PHOTOS} are needed.")
    with torch.inference_mode():
        expected = [network(torch.from_numpy(batch))[0].numpy() for batch in _batches(photos)]
    difference = float(np.abs(np.concatenate(expected) - probabilities(path, photos)).max())
    if not difference <= PARITY_TOLERANCE:
        raise GateError(
            f"The exported {path.name} differs from PyTorch by {difference:.1e} in probability on {len(photos)} "
            f"photos; at most {PARITY_TOLERANCE:.0e} is allowed, so no version was written."
        )
    return difference


def check_int8(float32: Floats, int8: Floats, targets: Floats, threshold: float) -> dict[str, float]:
    """Return what quantising costs on the validation photos, in accuracy and in area under the ROC curve.

    Args:
        float32: probabilities by the float32 file, [N].
        int8: probabilities by the int8 file on the same photos, [N].
        targets: 0 or 1, [N].
        threshold: in [0, 1], where a probability becomes the positive label.

    Raises:
        GateError: it costs more than INT8_ACCURACY_LOSS (or one photo, if that is more) or INT8_AUC_LOSS (or one pair).
    """
    if not np.isfinite(int8).all():
        raise GateError("The int8 file answers with probabilities that are no numbers.")
    truth = targets == 1
    accuracy = [float(((p >= threshold) == truth).mean()) for p in (float32, int8)]
    auc = [float(roc_auc_score(truth, p)) for p in (float32, int8)]
    lost = {"accuracy": accuracy[0] - accuracy[1], "roc_auc": auc[0] - auc[1]}
    # Of few photos a single one is more than a point, two that change places more than the area allowed: no evidence.
    one_photo, one_pair = 1 / len(targets), 1 / (truth.sum() * (~truth).sum())
    allowed = max(INT8_ACCURACY_LOSS, one_photo) + _ROUNDING, max(INT8_AUC_LOSS, one_pair) + _ROUNDING
    if lost["accuracy"] > allowed[0] or lost["roc_auc"] > allowed[1]:
        raise GateError(
            f"The int8 file loses {lost['accuracy']:.3f} of accuracy and {lost['roc_auc']:.4f} of ROC AUC on "
            f"{len(targets)} validation photos; at most {INT8_ACCURACY_LOSS} and {INT8_AUC_LOSS} are allowed."
        )
    return lost


def probabilities(path: Path, photos: Pixels) -> Floats:
    """Run an ONNX file on uint8 [N, S, S, 3] photos: float32 [N] in [0, 1]."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(["probability"], {"pixels": batch})[0] for batch in _batches(photos)])


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, photos: Pixels) -> None:
        self._batches = _batches(photos)

    def get_next(self) -> dict[str, Pixels] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"pixels": batch}


def _batches(photos: Pixels) -> Iterator[Pixels]:
    for start in range(0, len(photos), _BATCH_SIZE):
        yield photos[start : start + _BATCH_SIZE]
