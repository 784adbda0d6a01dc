"""The parts of a test folder that are worth a figure of their own, named by what lies beside the photos."""

import csv
import logging
from collections.abc import Mapping
from pathlib import Path

from service.photo import printable
from training.data.folders import Photos

MANIFEST = "MANIFEST.csv"
MIN_PHOTOS = 10  # fewer say nothing: an interval over 9 is wider than most differences
_LEVELS = 4  # above the evaluated folder

Indices = list[int]


def slices(photos: Photos) -> dict[str, dict[str, Indices]]:
    """Sort photos by where they come from and by what kind they are.

    Source is what a MANIFEST.csv (columns `path`, from its own folder, and `source`) in the evaluated folder or up to
    four above it says. Kind is the first subfolder below the class folder, else what stands before the first `-` of the
    file's name: `apple_pie` for `apple_pie-12345.jpg`. A damaged manifest is said in a warning, and not used.

    Returns:
        By `source` and `kind`, positions in the photos, [n] each, by slice; only slices of MIN_PHOTOS and more, and
        none of a division that leaves all photos together.
    """
    found: dict[str, dict[str, Indices]] = {"source": {}, "kind": {}}
    manifests: dict[Path, tuple[Path, Mapping[str, str]]] = {}  # of each folder with class folders, where it really is
    for number, path in enumerate(photos.paths):
        folder = _class_folder(path, photos.positive if photos.targets[number] == 1 else photos.negative)
        if folder.parent not in manifests:
            real = folder.parent.resolve()
            manifests[folder.parent] = real, _sources(real)
        real, sources = manifests[folder.parent]
        below = path.relative_to(folder)
        for by, name in (("source", sources.get((real / folder.name / below).as_posix())), ("kind", _kind(below))):
            if name:
                found[by].setdefault(printable(Path(name)), []).append(number)
    return {by: kept for by, parts in found.items() if (kept := _worthwhile(parts, len(photos)))}


def _class_folder(path: Path, label: str) -> Path:
    return next((parent for parent in path.parents if parent.name == label), path.parent)


def _kind(below: Path) -> str | None:
    if len(below.parts) > 1:
        return below.parts[0]
    kind, dash, _ = below.stem.partition("-")
    return kind if dash else None


def _worthwhile(parts: Mapping[str, Indices], total: int) -> dict[str, Indices]:
    return {name: part for name, part in sorted(parts.items()) if MIN_PHOTOS <= len(part) < total}


def _sources(folder: Path) -> dict[str, str]:
    """Return what the manifest in or above an evaluated folder says of each file, by the file's whole path."""
    for parent in (folder, *list(folder.parents)[:_LEVELS]):
        manifest = parent / MANIFEST
        try:
            with manifest.open(encoding="utf-8-sig", newline="") as file:
                rows = list(csv.DictReader(file, strict=True))
            return {(parent / row["path"]).as_posix(): row["source"].strip() for row in rows}
        except (FileNotFoundError, NotADirectoryError):
            continue
        except KeyError as error:
            reason = f"it has no column {error.args[0]}"
        except (AttributeError, TypeError):
            reason = "a line of it is too short"
        except (OSError, ValueError, csv.Error) as error:
            reason = str(error)
        logging.getLogger(__name__).warning("%s tells no sources apart: %s.", manifest, reason)
        break
    return {}
