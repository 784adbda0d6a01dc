"""The label list: a CSV file of photos, by content, whose label a person has corrected or that are excluded."""

import csv
import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from service.errors import SeeFoodError, describe_os_error
from service.photo import utf8
from training.data.checks import file_digest
from training.data.photos import Photos, TrainingData

EXCLUDED = "excluded"
COLUMNS = ("sha256", "label", "reason")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Correction:
    """The correct label of a photo, or EXCLUDED, and the reason in a few words."""

    label: str
    reason: str


@dataclass(frozen=True)
class LabelChange:
    """A photo whose label was changed: the label of its folder, and the correction."""

    path: Path
    old_label: str
    correction: Correction

    @property
    def change(self) -> str:
        """Return the change in words, without its reason."""
        label = self.correction.label
        return f"{self.old_label} left out" if label == EXCLUDED else f"{self.old_label} to {label}"


def correct_labels(data: TrainingData, path: Path) -> tuple[TrainingData, list[LabelChange]]:
    """Apply a label list to the training and validation photos; test photos keep their labels.

    Args:
        data: the photos.
        path: the label list, as for `read_label_list`.

    Raises:
        SeeFoodError: the list can't be used.
    """
    corrections = read_label_list(path, data.photos.positive, data.photos.negative)
    photos, changes = apply_label_list(data.photos, corrections)
    validation = data.validation
    if validation:
        validation, more = apply_label_list(validation, corrections)
        changes += more
    _log.info("Changes by the label list %s: %s.", path, summarize(changes))
    return replace(data, photos=photos, validation=validation), changes


def read_label_list(path: Path, positive: str, negative: str) -> dict[str, Correction]:
    """Read a CSV file with the columns sha256 (hex), label (a class or `excluded`) and reason.

    Returns:
        The corrections by the SHA-256 of the photo's bytes.

    Raises:
        SeeFoodError: the file can't be read, or a line is not valid.
    """
    corrections: dict[str, Correction] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file, strict=True)
            if missing := set(COLUMNS) - set(table.fieldnames or ()):
                required = f"{', '.join(COLUMNS[:-1])} and {COLUMNS[-1]}"
                raise SeeFoodError(f"The label list {path} has no column '{min(missing)}'; it needs {required}.")
            for row in table:
                digest, label = (row["sha256"] or "").strip().lower(), (row["label"] or "").strip()
                where = f"The label list {path}, line {table.line_num},"
                if not re.fullmatch("[0-9a-f]{64}", digest):
                    raise SeeFoodError(f"{where} has '{digest}' instead of a SHA-256 of 64 hex digits; correct it.")
                if label not in (positive, negative, EXCLUDED):
                    raise SeeFoodError(f"{where} has the label '{label}'; use {positive}, {negative} or {EXCLUDED}.")
                if corrections.get(digest, Correction(label, "")).label != label:
                    raise SeeFoodError(f"{where} gives the photo {digest[:12]} a second, different label; remove one.")
                corrections[digest] = Correction(label, (row["reason"] or "").strip())
    except OSError as error:
        raise SeeFoodError(f"The label list {describe_os_error(error, str(path))}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise SeeFoodError(f"The label list {path} is not a CSV file in UTF-8: {error}.") from error
    return corrections


def apply_label_list(photos: Photos, corrections: Mapping[str, Correction]) -> tuple[Photos, list[LabelChange]]:
    """Return the photos with corrected labels and without the excluded ones, and the changes.

    A photo that can't be read keeps its label; the checks leave it out later.
    """
    targets, kept, changes = photos.targets.copy(), [], []
    for index, (path, old_label) in enumerate(zip(photos.paths, photos.labels(), strict=True)):
        correction = corrections.get(file_digest(path))
        if correction and correction.label != old_label:
            changes.append(LabelChange(path, old_label, correction))
            targets[index] = float(correction.label == photos.positive)
        if not correction or correction.label != EXCLUDED:
            kept.append(index)
    corrected = Photos(photos.paths, targets.astype(np.float32), photos.positive, photos.negative)
    return corrected.take(kept), changes


def summarize(changes: Sequence[LabelChange]) -> str:
    """Return the number of photos of each change, in words."""
    counts = Counter(each.change for each in changes)
    return ", ".join(f"{count} {change}" for change, count in sorted(counts.items())) or "no label changes"


def changes_as_json(changes: Sequence[LabelChange]) -> list[dict[str, str]]:
    """Return the changes in the format of findings.json."""
    return [
        {"photo": utf8(each.path), "was": each.old_label, "is": each.correction.label, "reason": each.correction.reason}
        for each in changes
    ]


def group_changes(changes: Sequence[LabelChange]) -> list[tuple[str, list[LabelChange]]]:
    """Group the changes by change and reason, the largest group first, each with a title that has its size."""
    groups: dict[tuple[str, str], list[LabelChange]] = {}
    for each in changes:
        groups.setdefault((each.change, each.correction.reason), []).append(each)
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
    return [(f"{change}: {reason or 'no reason given'} ({len(group)})", group) for (change, reason), group in ordered]
