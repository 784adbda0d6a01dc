"""Both ONNX files of a classifier, float32 and int8, with the parity gates."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from service.metadata import Metadata
from service.registry import FILES
from training.data.dataset import read_photos
from training.data.photos import Photos
from training.export import parity
from training.export.onnx_export import export_float32, run_onnx, write_metadata
from training.export.quantization import export_int8
from training.model.classifier import Classifier

INT8_PHOTOS = 256  # training photos for the ranges of the activations
FLOAT32_SHARES = (0, 0.5, 1)  # of the convolutions, from the end; the first share that passes the gate is used

_log = logging.getLogger(__name__)


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
    if missing := max(0, parity.PARITY_PHOTOS - len(pixels)):
        compared = np.concatenate([pixels, read_photos(training.first(missing), classifier.size)])
    difference = parity.check_float32(classifier, float32, compared)
    calibration = read_photos(training.first(INT8_PHOTOS), classifier.size)
    expected = run_onnx(float32, pixels)
    for share in FLOAT32_SHARES:
        export_int8(float32, int8, calibration, share)
        try:
            lost = parity.check_int8(expected, run_onnx(int8, pixels), validation.targets, metadata.threshold)
            break
        except parity.GateError as error:
            refusal = str(error)
            _log.info("%s More layers stay in float32.", refusal)
    else:
        raise parity.GateError(f"{refusal.removesuffix('.')}, so no version was written.")
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
