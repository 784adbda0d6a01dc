"""Export a classifier as two ONNX files, float32 and int8, and refuse files that do not answer as it does."""

import logging
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from sklearn.metrics import roc_auc_score

from service.errors import SeeFoodError
from service.metadata import Metadata
from service.photo import Pixels
from service.registry import FILES
from service.self_test import digest, reference_square
from training.data.dataset import read_photos
from training.data.photos import Photos
from training.model.classifier import Array, Classifier

INT8_PHOTOS = 256  # training photos for the ranges of the activations
FLOAT32_SHARES = (0, 0.5, 1)  # of the convolutions, from the end; the first share that passes the gate is used
PARITY_PHOTOS = 64  # minimum number of photos for the comparison
PARITY_TOLERANCE = 1e-4  # of the probability, ONNX Runtime float32 against PyTorch
INT8_ACCURACY_LOSS = 0.01
INT8_AUC_LOSS = 0.005
_BATCH_SIZE = 16
_ROUNDING = 1e-9  # for floating point: 1 - 0.99 is not exactly 0.01

_log = logging.getLogger(__name__)


class GateError(SeeFoodError):
    """The probabilities of an exported file differ too much from those of the trained classifier."""


def export_model(
    classifier: Classifier, metadata: Metadata, training: Photos, validation: Photos, folder: Path
) -> Mapping[str, str]:
    """Write both ONNX files into a folder and pass the gates.

    Args:
        classifier: trained and calibrated.
        metadata: written into the int8 file, which is evaluated next.
        training: photos for the ranges of the activations.
        validation: photos for the gates.
        folder: is created if needed.

    Returns:
        The results of the gates, in words, by name.

    Raises:
        GateError: an exported file does not pass.
    """
    folder.mkdir(parents=True, exist_ok=True)
    float32, int8 = folder / FILES["float32"], folder / FILES["int8"]
    export_float32(classifier, float32)
    pixels = read_photos(validation, classifier.size)
    compared = pixels
    if missing := max(0, PARITY_PHOTOS - len(pixels)):
        compared = np.concatenate([pixels, read_photos(training.first(missing), classifier.size)])
    difference = check_float32(classifier, float32, compared)
    calibration = read_photos(training.first(INT8_PHOTOS), classifier.size)
    expected = run_onnx(float32, pixels)
    for share in FLOAT32_SHARES:
        export_int8(float32, int8, calibration, share)
        try:
            lost = check_int8(expected, run_onnx(int8, pixels), validation.targets, metadata.threshold)
            break
        except GateError as error:
            refusal = str(error)
            if share != FLOAT32_SHARES[-1]:
                _log.info("%s More layers stay in float32.", refusal)
    else:
        raise GateError(f"{refusal.removesuffix('.')}, so no version was written.")
    accuracy, auc = (f"{0 - lost[name]:+.4f}" for name in ("accuracy", "roc_auc"))  # 0 - 0.0 is not -0.0
    kept = f", with the last {share:.0%} of the convolutions in float32" if share else ""
    gates = {
        "float32 against PyTorch": f"at most {difference:.0e} apart in probability, on {len(compared)} photos",
        "int8 against float32": f"accuracy changes by {accuracy} and ROC AUC by {auc}{kept}",
    }
    for gate, result in gates.items():
        _log.info("%s: %s.", gate, result)
    write_metadata(int8, metadata)
    return gates


def export_float32(classifier: Classifier, path: Path) -> None:
    """Write the classifier as one ONNX file: uint8 [N, S, S, 3] `pixels` in, the values of its `forward` out."""
    classifier = classifier.eval().to("cpu", torch.float32)
    program = torch.onnx.export(
        classifier,
        (torch.zeros(2, classifier.size, classifier.size, 3, dtype=torch.uint8),),
        input_names=["pixels"],
        output_names=["probability", "heatmap", "familiarity"],
        dynamic_shapes={"pixels": {0: torch.export.Dim("N")}},
        dynamo=True,
        verbose=False,
    )
    assert program is not None, "torch.onnx.export returns a program if dynamo is true"  # noqa: S101 - for mypy
    program.save(path, external_data=False)
    model = onnx.load(path)
    graph = model.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info):
        del part.metadata_props[:]  # the exporter writes stack traces with local paths there
    onnx.save(model, path)


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


def write_metadata(path: Path, metadata: Metadata) -> None:
    """Write the metadata properties into an ONNX file, with the probability of the reference square."""
    model = onnx.load(path)
    size = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    square = reference_square(size)
    probability = round(float(run_onnx(path, square[None])[0]), 6)
    metadata = replace(metadata, reference_digest=digest(square), reference_probability=probability)
    onnx.helper.set_model_props(model, metadata.to_properties())
    onnx.save(model, path)


def check_float32(classifier: Classifier, path: Path, photos: Pixels) -> float:
    """Return the largest difference in probability between ONNX Runtime and PyTorch on uint8 [N, S, S, 3] photos.

    Raises:
        GateError: the difference is above PARITY_TOLERANCE, or there are fewer than PARITY_PHOTOS photos.
    """
    if len(photos) < PARITY_PHOTOS:
        raise GateError(f"The export was compared on {len(photos)} photos; at least {PARITY_PHOTOS} are needed.")
    with torch.inference_mode():
        expected = [classifier(torch.from_numpy(batch))[0].numpy() for batch in _batches(photos)]
    difference = float(np.abs(np.concatenate(expected) - run_onnx(path, photos)).max())
    if not difference <= PARITY_TOLERANCE:
        raise GateError(
            f"The exported {path.name} differs from PyTorch by {difference:.1e} in probability on {len(photos)} "
            f"photos; at most {PARITY_TOLERANCE:.0e} is allowed, so no version was written."
        )
    return difference


def check_int8(float32: Array, int8: Array, targets: Array, threshold: float) -> dict[str, float]:
    """Return the loss of accuracy and of ROC AUC through quantisation, on the validation photos.

    Args:
        float32: probabilities of the float32 file, [N].
        int8: probabilities of the int8 file on the same photos, [N].
        targets: 0 or 1, [N].
        threshold: of the positive class, in [0, 1].

    Raises:
        GateError: a loss is above INT8_ACCURACY_LOSS (or one photo, if that is more) or INT8_AUC_LOSS (or one pair of
            photos, if that is more), or a probability is infinite or NaN.
    """
    if not np.isfinite(int8).all():
        raise GateError("The int8 file has probabilities that are infinite or NaN numbers.")
    truth = targets == 1
    accuracy = [float(((p >= threshold) == truth).mean()) for p in (float32, int8)]
    auc = [float(roc_auc_score(truth, p)) for p in (float32, int8)]
    lost = {"accuracy": accuracy[0] - accuracy[1], "roc_auc": auc[0] - auc[1]}
    # With few photos, one photo or one pair is more than the limit, but it is no evidence of a loss.
    one_photo, one_pair = 1 / len(targets), 1 / (truth.sum() * (~truth).sum())
    allowed = max(INT8_ACCURACY_LOSS, one_photo) + _ROUNDING, max(INT8_AUC_LOSS, one_pair) + _ROUNDING
    if lost["accuracy"] > allowed[0] or lost["roc_auc"] > allowed[1]:
        raise GateError(
            f"The int8 file loses {lost['accuracy']:.3f} of accuracy and {lost['roc_auc']:.4f} of ROC AUC on "
            f"{len(targets)} validation photos; at most {allowed[0]:.3f} and {allowed[1]:.4f} are allowed."
        )
    return lost


def run_onnx(path: Path, photos: Pixels) -> Array:
    """Return the probabilities of an ONNX file for uint8 [N, S, S, 3] photos: float32 [N] in [0, 1]."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(["probability"], {"pixels": batch})[0] for batch in _batches(photos)])


def _batches(photos: Pixels) -> Iterator[Pixels]:
    """Yield photos, uint8 [N, S, S, 3], in batches."""
    for start in range(0, len(photos), _BATCH_SIZE):
        yield photos[start : start + _BATCH_SIZE]


class _PhotoReader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, photos: Pixels) -> None:
        self._batches = _batches(photos)

    def get_next(self) -> dict[str, Pixels] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"pixels": batch}
