"""From folders to what a fit takes: photos looked at and split, the head's start, suspected labels, softer targets."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from service.errors import SeeFoodError
from service.photo import printable
from training.config import Job
from training.data import folders
from training.data import label_list as labels
from training.data.checks import CACHE, Findings, check
from training.data.folders import Photos
from training.data.label_issues import Suspect, find_suspects
from training.data.label_list import Changed
from training.model import distributed as ranks
from training.model.classifier import Classifier
from training.model.distillation import ANSWERS, Ensemble
from training.model.linear_probe import FEATURES, frozen_features, out_of_fold

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Prepared:
    """What a fit takes.

    Attributes:
        data: all that was found.
        training, validation: the photos to fit and those held back, in an order that follows nothing.
        findings: of the look at all photos.
        features: of the training photos by the pretrained network, float32 [N, C]; None where it knows nothing yet.
        targets: what the network should say of the training photos, float32 [views, N] in [0, 1]; one row without a
            teacher.
        drawn: side in pixels at which a view is made, where there are teachers; None: the size that is fitted.
        suspects: photos that look mislabelled; None where nothing could tell.
        changed: photos whose label the label list corrects.
    """

    data: folders.Data
    training: Photos
    validation: Photos
    findings: Findings
    features: Array | None
    targets: Array
    drawn: int | None
    suspects: tuple[Suspect, ...] | None
    changed: Sequence[Changed]


def prepare(job: Job, data: folders.Data, classifier: Classifier, say: Callable[[str], None]) -> Prepared:
    """Look, ask the pretrained network and the teacher, and split; raises SeeFoodError.

    Args:
        job: what to do.
        data: the photos.
        classifier: as its weights left it; its head is not used.
        say: takes each line of progress.
    """
    data, changed = _corrected(job, data)
    if job.labels:
        say(f"{job.labels} changes labels: {labels.summary(changed)}.")
    with ranks.leader_first():
        findings = check(data.photos, data.held_back(), job.models / CACHE)
    for path, reason in findings.left_out.items():
        say(f"Left out: {printable(path)}: {reason}")
    photos = folders.leave_out(data.photos, findings.left_out)
    if data.validation is None:
        training, validation = folders.split(photos, findings.digests, job.seed)
    else:
        validation = folders.leave_out(data.validation, findings.left_out, folders.MIN_VALIDATION)
        training, validation = (folders.shuffled(part, findings.digests, job.seed) for part in (photos, validation))
    features, suspects = None, None
    if job.weights != "none":
        both = training.plus(validation)
        with ranks.leader_first():
            digests = [findings.digests[path] for path in both.paths]
            known = frozen_features(classifier, both, digests, job.models / FEATURES)
        if not np.isfinite(known).all():
            raise SeeFoodError(f"With the weights {job.weights} the features are no numbers; name other weights.")
        suspects = find_suspects(both, out_of_fold(known, both.targets))
        features = known[: len(training)]
        say(f"{len(suspects)} photos look mislabelled{'; they are left out' if job.drop_suspects else ''}.")
    if job.drop_suspects:
        if suspects is None:
            raise SeeFoodError(
                "A network that starts from nothing suspects no photo; give --weights or no --drop-suspects."
            )
        suspected = {suspect.path for suspect in suspects}
        kept = [i for i, path in enumerate(training.paths) if path not in suspected]
        training = folders.leave_out(training, suspected)
        features = features[kept] if features is not None else None
    smoothing, drawn = job.recipe.label_smoothing, None
    targets = (training.targets * (1 - smoothing) + smoothing / 2)[None]
    if job.teachers:
        ensemble = Ensemble(job.teachers)
        drawn = ensemble.drawn
        with ranks.leader_first():
            digests = [findings.digests[path] for path in training.paths]
            answers = ensemble.answers(training, digests, job.recipe, job.models / ANSWERS)
        targets = (1 - job.recipe.teacher_share) * targets + job.recipe.teacher_share * answers
    say(f"{len(training)} photos to fit and {len(validation)} to validate, {photos.positive} or {photos.negative}.")
    return Prepared(
        data, training, validation, findings, features, targets.astype(np.float32), drawn, suspects, changed
    )


def _corrected(job: Job, data: folders.Data) -> tuple[folders.Data, list[Changed]]:
    """Apply the label list to the photos to learn from and to those held back; test photos keep their labels."""
    if job.labels is None:
        return data, []
    corrections = labels.read_labels(job.labels, data.photos.positive, data.photos.negative)
    photos, changed = labels.correct(data.photos, corrections)
    validation = data.validation
    if validation:
        validation, more = labels.correct(validation, corrections)
        changed += more
    return replace(data, photos=photos, validation=validation), changed
