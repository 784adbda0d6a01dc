"""What a run has come to, as the steps after the fit hand it on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from service.metadata import Metadata
from training.data.checks import Findings
from training.data.folders import Photos
from training.data.label_issues import Suspect
from training.data.label_list import Changed
from training.evaluation.evaluate import Evaluation
from training.model.classifier import Classifier


@dataclass(frozen=True)
class Fitted:
    """A network that has been fitted and calibrated, and how that came about.

    Attributes:
        classifier: in float32, on the CPU.
        metadata: for its files, the metrics still empty.
        training: the photos that were learnt from.
        validation: photos that were held back from it.
        findings: of the look at all photos.
        recipe: what was done, each step with its value.
        curves: the table of metrics by epoch; None for a linear probe.
        suspects: photos to learn from whose label looks wrong, the most suspicious first.
        changed: photos whose label a label list corrected.
    """

    classifier: Classifier
    metadata: Metadata
    training: Photos
    validation: Photos
    findings: Findings
    recipe: Mapping[str, object]
    curves: Path | None
    suspects: tuple[Suspect, ...] = ()
    changed: Sequence[Changed] = ()


@dataclass(frozen=True)
class Story:
    """A fitted network with what its int8 file measures, for the card and the report.

    Attributes:
        fitted: the network.
        checks: metrics on the validation photos, and what the gates found.
        validation: the verdicts on the validation photos.
        tests: the verdicts on each test folder, by the folder's name.
        seeds: mean and standard deviation of each metric over all fits; empty for one fit.
        fits: how many times the network was fitted, each with a seed of its own.
        made_up: the verdicts on pictures that no camera took; None before they were asked for.
        before: the verdicts of the current version on the same test folders; empty where there is nothing to compare.
        version_before: the name of that version.
    """

    fitted: Fitted
    checks: Mapping[str, object]
    validation: Evaluation
    tests: Mapping[str, Evaluation]
    seeds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    fits: int = 1
    made_up: Evaluation | None = None
    before: Mapping[str, Evaluation] = field(default_factory=dict)
    version_before: str = ""
