"""The learning curve of a training folder: photos, features, probes, and the files that show the curve."""

import json
from pathlib import Path

from service.errors import SeeFoodError
from training.config import TrainConfig
from training.data.photos import gather
from training.evaluation.learning_curve import LearningCurve
from training.registry.store import check_writable, writing_to
from training.report.plots import learning_curve_figure
from training.train import build, curve_of, prepare

CURVE_JSON, CURVE_PNG = "learning-curve.json", "learning-curve.png"


def learn_curve(config: TrainConfig, out: Path, more: int | None) -> LearningCurve:
    """Compute the learning curve of the photos that `train` would fit, and write CURVE_JSON and CURVE_PNG.

    Args:
        config: its folder, extras, label list, backbone, weights and seed are used; the registry keeps the features.
        out: folder to write to; it is created.
        more: number of additional photos to forecast; None: as many again.

    Raises:
        SeeFoodError: the photos, the weights, the registry or the folder can't be used.
    """
    if config.weights == "none":
        raise SeeFoodError("A learning curve requires pretrained weights; give imagenet or a file with --weights.")
    data = gather(config.folder, config.positive, config.extras, config.tests)
    check_writable(config.models)
    check_writable(out)
    classifier, _ = build(config, config.seed)
    curve = curve_of(prepare(config, data, classifier), config.seed, more)
    if curve is None:
        raise AssertionError("pretrained weights make features")
    with writing_to(out):
        (out / CURVE_JSON).write_text(json.dumps(curve.as_dict(), indent=2) + "\n", encoding="utf-8")
        learning_curve_figure(curve).savefig(out / CURVE_PNG)
    return curve
