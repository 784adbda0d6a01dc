"""The summary of a run says what was done."""

from pathlib import Path

import numpy as np
import pytest

from tests.fixtures.small_backbone import SMALL
from training.config import Hyperparameters, TrainConfig
from training.data.checks import Findings, LabelIssue
from training.data.photos import Photos
from training.model.calibration import Calibration
from training.records import PreparedData
from training.report.run_summary import summarize_run

PHOTOS = Photos((Path("0.jpg"), Path("1.jpg")), np.array([0, 1], np.float32), "hotdog", "not_hotdog")
CALIBRATION = Calibration(1.0, 0.0, 0.5, 0.25, 0.75, 0.1, 0.1)


def _summarize(views: int, **options: object) -> dict[str, object]:
    config = TrainConfig(Path("photos"), Path("models"), SMALL, **options)  # type: ignore[arg-type]
    issues = (LabelIssue(PHOTOS.paths[0], "not_hotdog", 0.1),)
    findings, none = Findings({}, {}, [], [], [], [], [], {}, {}), PHOTOS.take([])
    targets = np.zeros((views, 2), np.float32)
    data = PreparedData(PHOTOS, PHOTOS, (), findings, (), issues, None, targets, None, None, none, none)
    return summarize_run(config, data, [], 1, 0, CALIBRATION, head_is_probe=True)


@pytest.mark.parametrize(
    ("drop", "said"),
    [
        (True, "1 photos; those of the training photos are left out of the fit"),
        (False, "1 photos, none of which is left out"),
    ],
)
def test_only_training_photos_are_left_out_of_the_fit(drop: bool, said: str) -> None:
    assert _summarize(1, drop_label_issues=drop)["suspected labels"] == said


def test_the_number_of_views_is_that_of_the_targets() -> None:
    """A fit of two epochs sees two views, though the default is three."""
    summary = _summarize(2, teachers=(Path("teacher.onnx"),), hyperparameters=Hyperparameters(epochs=2))
    assert "for the same crop, of 2 views of each photo" in str(summary["loss"])
