"""The two records of a run: the prepared photos, and the result of one fit with everything that was measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from service.metadata import Metadata
from training.data.checks import Findings, LabelIssue
from training.data.label_list import LabelChange
from training.data.photos import Photos
from training.evaluation.evaluate import Evaluation
from training.evaluation.learning_curve import LearningCurve
from training.model.classifier import Classifier

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class PreparedData:
    """Photos and targets, the same for all fits of a run.

    Attributes:
        training, validation: the photos, each in random order.
        tests: the test folders.
        findings: result of the checks.
        label_changes: photos whose label the label list corrected.
        label_issues: photos that look mislabelled; None: unknown, because there are no pretrained weights.
        features: of the training photos by the pretrained network, float32 [N, C]; None: no pretrained weights.
        targets: of the training photos, float32 [views, N] in [0, 1]; without teachers, `views` is 1.
        crop_size: side in pixels at which photos are augmented for the teachers; None: no teachers.
        validation_features: of the validation photos, as `features`.
        accepted: those of the training photos that are accepted photos of an inbox.
        corrections: accepted photos of an inbox that are held out, for comparisons only.
    """

    training: Photos
    validation: Photos
    tests: tuple[Path, ...]
    findings: Findings
    label_changes: Sequence[LabelChange]
    label_issues: tuple[LabelIssue, ...] | None
    features: Array | None
    targets: Array
    crop_size: int | None
    validation_features: Array | None
    accepted: Photos
    corrections: Photos


@dataclass(frozen=True)
class RunResult:
    """One fit and its measurements; the card, the report and the other files of a version are written from it.

    Attributes:
        data: the photos.
        folder: has the two ONNX files.
        classifier: trained and calibrated, in float32 on the CPU.
        metadata: of the ONNX files, with empty metrics.
        summary: what was done, by step.
        curves: table of metrics by epoch; None for a linear probe.
        gates: results of the parity gates, by name.
        validation: evaluation of the validation photos, by the int8 file.
        tests: evaluation of each test folder, by its name.
        fits: number of fits, each with another seed.
        over_fits: mean and standard deviation of each metric over all fits; empty for one fit.
        synthetic: evaluation of the synthetic pictures; None: not evaluated.
        current: evaluation of the test folders by the current version; empty: nothing to compare with.
        current_version: name of the current version.
        learning_curve: of the pretrained features; None: no pretrained weights.
    """

    data: PreparedData
    folder: Path
    classifier: Classifier
    metadata: Metadata
    summary: Mapping[str, object]
    curves: Path | None
    gates: Mapping[str, str]
    validation: Evaluation
    tests: Mapping[str, Evaluation]
    fits: int = 1
    over_fits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    synthetic: Evaluation | None = None
    current: Mapping[str, Evaluation] = field(default_factory=dict)
    current_version: str = ""
    learning_curve: LearningCurve | None = None

    @property
    def labels(self) -> tuple[str, str]:
        """Return the positive and the negative label."""
        return self.metadata.positive_label, self.metadata.negative_label
