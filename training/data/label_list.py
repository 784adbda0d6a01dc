"""A list of photos, by content, whose label a person has corrected: what is under another label, or left out."""

import csv
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from service.errors import SeeFoodError, in_words
from service.photo import utf8
from training.data.folders import Photos
from training.data.photo_info import file_digest

EXCLUDED = "excluded"
COLUMNS = ("sha256", "label", "reason")


@dataclass(frozen=True)
class Correction:
    """What a person says of a photo: the label it should have, or EXCLUDED, and why in a few words."""

    label: str
    reason: str


@dataclass(frozen=True)
class Changed:
    """A photo whose label was corrected: the label of its folder, and the correction."""

    path: Path
    was: str
    correction: Correction


def read_labels(path: Path, positive: str, negative: str) -> dict[str, Correction]:
    """Read a label list: a CSV file with the columns sha256 (hex), label (a class or `excluded`) and reason.

    Returns:
        The corrections by the SHA-256 of the photo's bytes.

    Raises:
        SeeFoodError: the file can't be read, or a line of it can't be used; the sentence names the line.
    """
    corrections: dict[str, Correction] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file, strict=True)
            if missing := set(COLUMNS) - set(table.fieldnames or ()):
                raise SeeFoodError(f"The label list {path} has no column '{min(missing)}'; it needs {_names()}.")
            for row in table:
                digest, label = (row["sha256"] or "").strip().lower(), (row["label"] or "").strip()
                where = f"The label list {path}, line {table.line_num},"
                if not re.fullmatch("[0-9a-f]{64}", digest):
                    raise SeeFoodError(f"{where} has '{digest}' where a SHA-256 in 64 hex digits is needed.")
                if label not in (positive, negative, EXCLUDED):
                    raise SeeFoodError(f"{where} has the label '{label}'; use {positive}, {negative} or {EXCLUDED}.")
                if corrections.get(digest, Correction(label, "")).label != label:
                    raise SeeFoodError(f"{where} gives the photo {digest[:12]} a second, different label; remove one.")
                corrections[digest] = Correction(label, (row["reason"] or "").strip())
    except OSError as error:
        raise SeeFoodError(f"The label list {in_words(error, str(path))}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise SeeFoodError(f"The label list {path} is not a CSV file in UTF-8: {error}.") from error
    return corrections


def correct(photos: Photos, corrections: Mapping[str, Correction]) -> tuple[Photos, list[Changed]]:
    """Return the photos with corrected labels and without the excluded ones, and what was changed.

    A photo that can't be read keeps its label, as a later check leaves it out with the reason.
    """
    targets, kept, changed = photos.targets.copy(), [], []
    names = photos.negative, photos.positive
    for index, path in enumerate(photos.paths):
        was = names[int(targets[index])]
        correction = corrections.get(file_digest(path))
        if correction and correction.label != was:
            changed.append(Changed(path, was, correction))
            targets[index] = float(correction.label == photos.positive)
        if not correction or correction.label != EXCLUDED:
            kept.append(index)
    return Photos(photos.paths, targets.astype(np.float32), *names[::-1]).take(kept), changed


def summary(changed: Sequence[Changed]) -> str:
    """Say how many photos were changed, and from what to what."""
    counts = Counter(
        f"{each.was} left out" if each.correction.label == EXCLUDED else f"{each.was} to {each.correction.label}"
        for each in changed
    )
    return ", ".join(f"{count} {what}" for what, count in sorted(counts.items())) or "no photo of the list is here"


def as_json(changed: Sequence[Changed]) -> list[dict[str, str]]:
    """Return what was changed as JSON can hold it."""
    return [
        {"photo": utf8(each.path), "was": each.was, "is": each.correction.label, "reason": each.correction.reason}
        for each in changed
    ]


def kinds(changed: Sequence[Changed]) -> list[tuple[str, str, str, int]]:
    """Count the changed photos by label before, label after and reason, the most frequent first."""
    counts = Counter((each.was, each.correction.label, each.correction.reason) for each in changed)
    return [(*what, count) for what, count in counts.most_common()]


def _names() -> str:
    return f"{', '.join(COLUMNS[:-1])} and {COLUMNS[-1]}"
