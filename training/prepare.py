"""From folders to what a fit takes: photos looked at and split, the head's start, suspected labels, softer targets."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.errors import SeeFoodError
from service.photo import printable
from training import folders, ranks
from training.check import CACHE, Findings, check
from training.folders import Photos
from training.job import Job
from training.network import Classifier
from training.probe import FEATURES, frozen_features, out_of_fold
from training.suspects import Suspect, find_suspects
from training.teacher import ANSWERS, Teacher

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Prepared:
    """What a fit takes.

    Attributes:
        data: all that was found.
        training, validation: the photos to fit and those held back, in an order that follows nothing.
        findings: of the look at all photos.
        features: of the training photos by the pretrained network, float32 [N, C]; None where it knows nothing yet.
        targets: what the network should say of the training photos, float32 [N] in [0, 1].
        suspects: photos that look mislabelled; None where nothing could tell.
    """

    data: folders.Data
    training: Photos
    validation: Photos
    findings: Findings
    features: Array | None
    targets: Array
    suspects: tuple[Suspect, ...] | None


def prepare(job: Job, data: folders.Data, classifier: Classifier, say: Callable[[str], None]) -> Prepared:
    """Look, ask the pretrained network and the teacher, and split; raises SeeFoodError.

    Args:
        job: what to do.
        data: the photos.
        classifier: as its weights left it; its head is not used.
        say: takes each line of progress.
    """
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
    targets = training.targets
    if job.teacher:
        teacher = Teacher(job.teacher)
        with ranks.leader_first():
            digests = [findings.digests[path] for path in training.paths]
            answers = teacher.probabilities(training, digests, job.models / ANSWERS)
        targets = (1 - job.recipe.teacher_share) * targets + job.recipe.teacher_share * answers
    say(f"{len(training)} photos to fit and {len(validation)} to validate, {photos.positive} or {photos.negative}.")
    return Prepared(data, training, validation, findings, features, targets, suspects)
