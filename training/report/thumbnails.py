"""Thumbnails of the report: small JPEGs as `data:` URLs, for wrong predictions with their heatmap."""

import base64
import io
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from service.model import Model
from service.overlay import overlay
from service.photo import PhotoError, Pixels, printable, read_photo
from training.data.checks import Findings, LabelIssue
from training.data.label_list import LabelChange, group_changes
from training.evaluation.comparison import Change
from training.evaluation.evaluate import Mistake

SIDE = 160  # px
GROUPS = 12
_PER_GROUP = 6
_QUALITY = 80  # of JPEG


@dataclass(frozen=True)
class Thumbnail:
    """A photo to show.

    Attributes:
        pictures: `data:` URLs, shown side by side.
        caption: may be empty.
        name: folder and file name.
    """

    pictures: tuple[str, ...]
    caption: str
    name: str


def of_label_issues(issues: Sequence[LabelIssue]) -> list[Thumbnail]:
    """Show photos that look mislabelled, with their label and its probability."""
    return [_thumbnail(each.path, f"{each.label}: {each.quality:.2f}") for each in issues]


def of_label_changes(changes: Sequence[LabelChange], each: int) -> list[tuple[str, list[Thumbnail]]]:
    """Show the first readable photos, at most `each`, of every group of corrections, with the title of the group."""
    shown = []
    for title, group in group_changes(changes):
        thumbnails: list[Thumbnail] = []
        for change in group:
            if len(thumbnails) < each:
                with suppress(PhotoError, OSError):  # the list may exclude photos that can't be read
                    thumbnails.append(_thumbnail(change.path, ""))
        shown.append((title, thumbnails))
    return shown


def of_changes(changes: Sequence[Change]) -> list[Thumbnail]:
    """Show photos that only one of two models gets right, with the label and both probabilities."""
    return [_thumbnail(each.path, f"{each.label}: {each.before:.3f}, then {each.after:.3f}") for each in changes]


def of_same_pictures(findings: Findings) -> list[tuple[str, list[Thumbnail]]]:
    """Show the first groups of photos with the same picture, the most serious kind first, with the name of the kind."""
    kinds = {
        "One picture under both labels": findings.contradictions,
        "One picture for training and held out": findings.leaks,
        "One picture more than once": findings.duplicates,
    }
    groups = [(kind, group) for kind, found in kinds.items() for group in found][:GROUPS]
    captions = {True: "left out", False: "kept"}
    return [
        (kind, [_thumbnail(path, captions[path in findings.left_out]) for path in group[:_PER_GROUP]])
        for kind, group in groups
    ]


def of_mistakes(model: Model, mistakes: Sequence[Mistake]) -> list[Thumbnail]:
    """Show wrong predictions beside their class activation map: red for the positive label, blue against it."""
    if not mistakes:
        return []
    pixels = np.stack([read_photo(mistake.path.read_bytes(), model.size) for mistake in mistakes])
    shown = []
    for mistake, heatmap in zip(mistakes, model.run(pixels).heatmap, strict=True):
        photo = _read(mistake.path)
        caption = f"{mistake.path.parent.name}, answered {mistake.probability:.3f}"
        pictures = _encode(photo), _encode(overlay(photo, heatmap))
        shown.append(Thumbnail(pictures, caption, _name(mistake.path)))
    return shown


def _thumbnail(path: Path, caption: str) -> Thumbnail:
    return Thumbnail((_encode(_read(path)),), caption, _name(path))


def _read(path: Path) -> Pixels:
    return read_photo(path.read_bytes(), SIDE)


def _name(path: Path) -> str:
    return printable(Path(path.parent.name, path.name))


def _encode(photo: Pixels) -> str:
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
