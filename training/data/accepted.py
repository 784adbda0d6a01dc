"""Photos of an inbox that a reviewer has accepted: most are trained on, and a part is held out for comparisons."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from service.errors import SeeFoodError
from service.inbox.export import accepted
from service.inbox.records import Limits
from service.inbox.store import INDEX, Inbox
from service.photo import printable
from training.data.photos import Photos, TrainingData, hash_fraction

HELD_OUT_FRACTION = 0.2


def add_accepted(data: TrainingData, inbox: Path) -> TrainingData:
    """Add the accepted photos of an inbox to the photos of a run; errors are those of `find_accepted`."""
    found = find_accepted(inbox, data.photos.positive, data.photos.negative)
    held_out = {path for path in found.paths if is_held_out(path.stem)}
    corrections = found.take(i for i, path in enumerate(found.paths) if path in held_out)
    return replace(data, accepted=found.without(held_out), corrections=corrections)


def find_accepted(inbox: Path, positive: str, negative: str) -> Photos:
    """Return the accepted photos of an inbox in the order of their decisions.

    Raises:
        SeeFoodError: there is no such inbox, it can't be used, or a photo has another label.
    """
    if not (inbox / INDEX).is_file():
        raise SeeFoodError(f"There is no inbox {inbox}; name the folder of SEEFOOD_FEEDBACK_DIR.")
    found = accepted(Inbox(inbox, Limits(max_bytes=0, key_per_day=0, address_per_day=0)))
    if other := next((each for each in found if each.label not in (positive, negative)), None):
        raise SeeFoodError(
            f"The inbox {inbox} has the photo {other.path.name}, which is accepted as {printable(other.label)}, not as "
            f"{positive} or {negative}; decide about it again."
        )
    targets = np.array([each.label == positive for each in found], np.float32)
    return Photos(tuple(each.path for each in found), targets, positive, negative)


def is_held_out(digest: str) -> bool:
    """Return whether an accepted photo is held out; this depends on its content only, so no version is trained on it.

    Args:
        digest: SHA-256 of the file, hex, which is its name in an inbox.
    """
    return hash_fraction(digest, "held out") < HELD_OUT_FRACTION


def require_untested(photos: Photos, held_out: Sequence[Sequence[Path]], digests: Mapping[Path, str]) -> None:
    """Raise SeeFoodError if an accepted photo is a validation or test photo too.

    People correct the photos that a model gets wrong, so a test with these photos is harder than the photos of users.

    Args:
        photos: the accepted photos.
        held_out: sets of photos that are not trained on.
        digests: SHA-256 of each photo, hex.
    """
    known = {digests[path] for path in photos.paths} - {""}
    if found := next((path for part in held_out for path in part if digests[path] in known), None):
        raise SeeFoodError(
            f"{found} is a photo of the inbox, which can't be a validation or test photo; remove it from that folder."
        )
