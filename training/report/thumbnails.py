"""Photos of a report: small JPEGs inside the page, some with what speaks for and against the positive label."""

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
from training.data.checks import Findings
from training.data.label_issues import Suspect
from training.data.label_list import EXCLUDED, Changed, kinds
from training.evaluation.evaluate import Mistake

SIDE = 160  # px
GROUPS = 12
_EACH = 6  # of one group
_QUALITY = 80  # of JPEG


@dataclass(frozen=True)
class Thumbnail:
    """A photo to show.

    Attributes:
        pictures: `data:` addresses, side by side.
        words: what is said of it first; may be empty.
        name: its folder and file.
    """

    pictures: tuple[str, ...]
    words: str
    name: str


def of_suspects(suspects: Sequence[Suspect]) -> list[Thumbnail]:
    """Show photos that look mislabelled, with their label and how well it fits."""
    return [_thumbnail(each.path, f"{each.label}: {each.quality:.2f}") for each in suspects]


def of_changed(changed: Sequence[Changed], each: int) -> list[tuple[str, list[Thumbnail]]]:
    """Show the first readable photos of each correction and reason, with the number of all in its name."""
    groups = []
    for was, label, reason, count in kinds(changed):
        shown: list[Thumbnail] = []
        for one in changed:
            if len(shown) < each and (one.was, one.correction.label, one.correction.reason) == (was, label, reason):
                with suppress(PhotoError, OSError):  # a list may also exclude what can't be read
                    shown.append(_thumbnail(one.path, ""))
        what = f"{was} left out" if label == EXCLUDED else f"{was} to {label}"
        groups.append((f"{what}: {reason or 'no reason given'} ({count})", shown))
    return groups


def of_groups(findings: Findings) -> list[tuple[str, list[Thumbnail]]]:
    """Show the first groups of photos with the same picture, the worst kind first, each with what is wrong."""
    kinds = {
        "One picture under both labels": findings.contradictions,
        "One picture to learn from and held back": findings.leaks,
        "One picture more than once": findings.doubles,
    }
    groups = [(kind, group) for kind, found in kinds.items() for group in found][:GROUPS]
    words = {True: "left out", False: "stays in"}
    return [
        (kind, [_thumbnail(path, words[path in findings.left_out]) for path in group[:_EACH]]) for kind, group in groups
    ]


def of_mistakes(model: Model, mistakes: Sequence[Mistake]) -> list[Thumbnail]:
    """Show wrong verdicts, each beside its class activation map: red speaks for the positive label, blue against it."""
    if not mistakes:
        return []
    pixels = np.stack([read_photo(mistake.path.read_bytes(), model.size) for mistake in mistakes])
    shown = []
    for mistake, heatmap in zip(mistakes, model.run(pixels).heatmap, strict=True):
        photo = _read(mistake.path)
        words = f"{mistake.path.parent.name}, answered {mistake.probability:.3f}"
        pictures = _encode(photo), _encode(overlay(photo, heatmap))
        shown.append(Thumbnail(pictures, words, _name(mistake.path)))
    return shown


def _thumbnail(path: Path, words: str) -> Thumbnail:
    return Thumbnail((_encode(_read(path)),), words, _name(path))


def _read(path: Path) -> Pixels:
    return read_photo(path.read_bytes(), SIDE)


def _name(path: Path) -> str:
    return printable(Path(path.parent.name, path.name))


def _encode(photo: Pixels) -> str:
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
