"""Charts have the expected content."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from training.data.photos import Photos, find_labelled
from training.evaluation.evaluate import Evaluation
from training.evaluation.metrics import compute_metrics
from training.model.classifier import build_classifier
from training.report import plots


def _titles(figure: Figure) -> list[str]:
    return [title for axes in figure.axes if (title := axes.get_title(loc="left"))]


@pytest.mark.parametrize(
    ("backbone", "stages", "kernels"),
    [
        (
            "resnet18",
            [
                "relu: 64 x 112 x 112",
                "layer1: 64 x 56 x 56",
                "layer2: 128 x 28 x 28",
                "layer3: 256 x 14 x 14",
                "layer4: 512 x 7 x 7",
            ],
            (64, 7),
        ),
        (
            "densenet121",
            [
                "relu0: 64 x 112 x 112",
                "denseblock1: 256 x 56 x 56",
                "denseblock2: 512 x 28 x 28",
                "denseblock3: 1024 x 14 x 14",
                "relu5: 1024 x 7 x 7",
            ],
            (64, 7),
        ),
        (
            "inception_v3",
            [
                "Conv2d_1a_3x3: 32 x 149 x 149",
                "Conv2d_2b_3x3: 64 x 147 x 147",
                "Conv2d_3b_1x1: 80 x 73 x 73",
                "Conv2d_4a_3x3: 192 x 71 x 71",
                "Mixed_5d: 288 x 35 x 35",
                "Mixed_6e: 768 x 17 x 17",
                "Mixed_7c: 2048 x 8 x 8",
            ],
            (32, 3),
        ),
    ],
)
def test_a_backbone_from_inside(backbone: str, stages: list[str], kernels: tuple[int, int]) -> None:
    network, _ = build_classifier("none", backbone)
    network.eval()
    pixels = np.random.default_rng(0).integers(0, 256, (network.size, network.size, 3), np.uint8)
    assert _titles(plots.feature_maps(network, pixels)) == stages
    shown = [image for axes in plots.first_kernels(network).axes for image in axes.get_images()]
    assert (len(shown), np.asarray(shown[0].get_array()).shape) == (kernels[0], (kernels[1], kernels[1], 3))


def test_the_curves_of_a_fit(tmp_path: Path) -> None:
    table = tmp_path / "metrics.csv"
    table.write_text("epoch,loss,val_loss,val_auc\n0,0.7,0.6,0.8\n1,0.5,,0.9\n")
    curves = plots.training_curves(table)
    assert {name: len(figure.axes[0].lines) for name, figure in curves.items()} == {"loss": 2, "validation": 1}
    assert [list(np.asarray(line.get_xdata())) for line in curves["loss"].axes[0].lines] == [[1, 2], [1]]
    assert list(np.asarray(curves["validation"].axes[0].lines[0].get_ydata())) == [0.8, 0.9]


def test_a_linear_probe_has_no_curves() -> None:
    assert plots.training_curves(None) == {}


def _evaluation(targets: list[int]) -> Evaluation:
    truth, probabilities = np.array(targets, np.float32), np.linspace(0.05, 0.95, len(targets))
    counts = targets.count(1), targets.count(0)
    return Evaluation(counts, compute_metrics(truth, probabilities, 0.5), [], {}, truth, probabilities)


def test_one_class_has_scores_and_no_curves() -> None:
    assert set(plots.prediction_charts(_evaluation([0] * 9), ("cat", "dog"), 0.5)) == {"scores"}


def test_both_classes_have_every_chart() -> None:
    figures = plots.prediction_charts(_evaluation([0, 0, 1, 0, 1, 1]), ("cat", "dog"), 0.5)
    assert set(figures) == {"scores", "confusion", "roc", "precision-recall", "reliability"}
    cells = [text.get_text() for text in figures["confusion"].axes[0].texts]
    assert cells == ["2", "1", "1", "2"]
    chosen = figures["roc"].axes[0].lines[-1]
    assert np.asarray(chosen.get_xydata())[0] == pytest.approx((1 / 3, 2 / 3))


def test_samples_come_from_all_over_a_folder(drawn: Path) -> None:
    photos = find_labelled(drawn, "hotdog", "not_hotdog")
    both = plots.samples(photos, 32)
    assert _titles(both) == ["hotdog", "not_hotdog"]
    assert sum(len(axes.get_images()) for axes in both.axes) == 16
    few = photos.take([0, 50, 63])
    one = plots.samples(Photos(few.paths, few.targets, "hotdog", "not_hotdog"), 32)
    assert _titles(one) == ["hotdog"]
    assert sum(len(axes.get_images()) for axes in one.axes) == 3
