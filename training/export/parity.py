"""Parity gates: the exported files must answer as the trained classifier does, or no version is written."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import torch
from sklearn.metrics import roc_auc_score

from service.errors import SeeFoodError
from service.photo import Pixels
from training.model.classifier import Classifier

Floats = npt.NDArray[np.float32]

PARITY_PHOTOS = 64  # minimum number of photos for the comparison
PARITY_TOLERANCE = 1e-4  # of the probability, ONNX Runtime float32 against PyTorch
INT8_ACCURACY_LOSS = 0.01
INT8_AUC_LOSS = 0.005
_BATCH_SIZE = 16
_ROUNDING = 1e-9  # for floating point: 1 - 0.99 is not exactly 0.01


class GateError(SeeFoodError):
    """An exported file does not answer as the trained classifier does."""


def check_float32(classifier: Classifier, path: Path, photos: Pixels) -> float:
    """Return the largest difference in probability between ONNX Runtime and PyTorch on uint8 [N, S, S, 3] photos.

    Raises:
        GateError: the difference is above PARITY_TOLERANCE, or there are fewer than PARITY_PHOTOS photos.
    """
    if len(photos) < PARITY_PHOTOS:
        raise GateError(f"The export was compared on {len(photos)} photos; at least {PARITY_PHOTOS} are needed.")
    with torch.inference_mode():
        expected = [classifier(torch.from_numpy(batch))[0].numpy() for batch in batches(photos)]
    difference = float(np.abs(np.concatenate(expected) - run_onnx(path, photos)).max())
    if not difference <= PARITY_TOLERANCE:
        raise GateError(
            f"The exported {path.name} differs from PyTorch by {difference:.1e} in probability on {len(photos)} "
            f"photos; at most {PARITY_TOLERANCE:.0e} is allowed, so no version was written."
        )
    return difference


def check_int8(float32: Floats, int8: Floats, targets: Floats, threshold: float) -> dict[str, float]:
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
            f"{len(targets)} validation photos; at most {INT8_ACCURACY_LOSS} and {INT8_AUC_LOSS} are allowed."
        )
    return lost


def run_onnx(path: Path, photos: Pixels) -> Floats:
    """Return the probabilities of an ONNX file for uint8 [N, S, S, 3] photos: float32 [N] in [0, 1]."""
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(["probability"], {"pixels": batch})[0] for batch in batches(photos)])


def batches(photos: Pixels) -> Iterator[Pixels]:
    """Yield photos, uint8 [N, S, S, 3], in batches."""
    for start in range(0, len(photos), _BATCH_SIZE):
        yield photos[start : start + _BATCH_SIZE]
