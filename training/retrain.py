"""Retraining: with enough new accepted photos, train a candidate, and compare it with the current version."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from service.errors import SeeFoodError
from service.model import open_model
from service.registry import current_version
from training.config import TrainConfig
from training.data.accepted import add_accepted
from training.data.photos import find_all_labelled, gather
from training.evaluation.comparison import SlicedComparison, compare_groups
from training.model.fit import Interrupted
from training.registry.photo_list import read_photo_list
from training.registry.store import check_writable
from training.report.comparison_report import PAGE, RETRAINING, write_comparison
from training.train import train

LOCK = ".retrain.lock"  # an empty file in the registry
TEST, HELD_OUT, HARD_NEGATIVES = "the test", "held-out corrections", "hard negatives"


class Refused(SeeFoodError):
    """The candidate is significantly worse than the current version; it stays in the registry as a candidate."""

    status = 3


def parse_condition(text: str) -> int:
    """Return the number of `accepted=200`; raises SeeFoodError."""
    name, _, number = text.partition("=")
    if name != "accepted" or not (number.isascii() and number.isdigit() and int(number) > 0):
        raise SeeFoodError(f"--when '{text}' is not valid; use accepted=NUMBER with a number above 0.")
    return int(number)


@dataclass(frozen=True)
class Retraining:
    """What a call of `retrain` did.

    Attributes:
        new: number of new accepted photos.
        version: the candidate; empty: there were too few new photos.
        comparison: of the candidate with the current version; None: there is no candidate.
    """

    new: int
    version: str = ""
    comparison: SlicedComparison | None = None


def retrain(config: TrainConfig, needed: int, hard_negatives: tuple[Path, ...]) -> Retraining:
    """Train a candidate with the accepted photos and compare it, if there are enough new ones; it is not promoted.

    Args:
        config: as for `train`, with an inbox; its test folders, or FOLDER/test, are the fixed test.
        needed: how many accepted photos must be new: neither known to the current version nor used by an earlier
            retraining.
        hard_negatives: folders of photos that resemble the positive class, for the comparison only.

    Raises:
        Refused: the candidate is worse on a group or slice of the photos.
        SeeFoodError: something can't be used, or another retraining of the same registry runs.
    """
    in_use = open_model(config.models)
    data = gather(config.folder, config.positive, config.extras, config.tests)
    if config.inbox:
        data = add_accepted(data, config.inbox)
    if not data.tests:
        raise SeeFoodError(
            "There are no test photos to compare the versions on; name a folder of labelled photos with --test FOLDER."
        )
    labels = data.photos.positive, data.photos.negative
    if labels != (in_use.metadata.positive_label, in_use.metadata.negative_label):
        raise SeeFoodError(
            f"The current version {in_use.metadata.version} has other labels than {labels[0]} and {labels[1]}, so they "
            "can't be compared; train and promote a first version of these labels."
        )
    groups = {
        TEST: find_all_labelled(data.tests, *labels),
        HELD_OUT: data.corrections,
        HARD_NEGATIVES: find_all_labelled(hard_negatives, *labels),
    }
    check_writable(config.models)
    with _locked(config.models):
        accepted = {path.stem for path in data.accepted.plus(data.corrections).paths}  # each name is a SHA-256
        new = len(accepted - _used(config.models))
        if new < needed:
            return Retraining(new)
        try:
            version, _ = train(replace(config, tests=(*config.tests, *hard_negatives)))
        except Interrupted as error:  # its own sentence names an option that this command does not have
            raise Interrupted("The retraining was interrupted; run the same command again.") from error
        candidate = open_model(config.models, version)
        comparison = compare_groups(in_use, candidate, {name: part for name, part in groups.items() if len(part)})
        write_comparison(config.models / version, in_use, candidate, comparison, accepted)
    if comparison.worse:
        page = config.models / version / PAGE
        raise Refused(f"{version} is worse: {comparison}; {page} shows the photos that change.")
    return Retraining(new, version, comparison)


@contextmanager
def _locked(models: Path) -> Iterator[None]:
    """Let one retraining of a registry run at a time; raises SeeFoodError."""
    lock = FileLock(models / LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise SeeFoodError(f"Another retraining of {models} is running; try again when it has ended.") from error
    try:
        yield
    finally:
        lock.release()


def _used(models: Path) -> set[str]:
    """Return the SHA-256 of the photos of the current version and of all earlier retrainings, refused ones too."""
    used = {*read_photo_list(models / current_version(models))}
    try:
        for path in models.glob(f"[!.]*/{RETRAINING}"):
            used |= set(json.loads(path.read_text(encoding="utf-8"))["accepted"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SeeFoodError(f"The photos of the versions in {models} can't be read: {error!r}; restore them.") from error
    return used
