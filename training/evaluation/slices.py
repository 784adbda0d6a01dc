"""Slices: parts of a test folder with the same source or kind, which get metrics of their own."""

import csv
import logging
from collections.abc import Mapping
from pathlib import Path

from service.photo import printable
from training.data.photos import Photos

MANIFEST = "MANIFEST.csv"
MIN_PHOTOS = 10  # with fewer, the interval is wider than most differences
_LEVELS = 4  # folders above the evaluated folder that are searched for a manifest

Indices = list[int]

_log = logging.getLogger(__name__)


def find_slices(photos: Photos) -> dict[str, dict[str, Indices]]:
    """Group photos by source and by kind.

    The source is read from a MANIFEST.csv (columns `path`, relative to its folder, and `source`) in the evaluated
    folder or up to four folders above. A damaged manifest is ignored with a warning. The kind is the first subfolder of
    the class folder, or else the part of the file name before the first `-`: `apple_pie` for `apple_pie-12345.jpg`.

    Returns:
        Positions of photos by `source` and `kind`, and by slice. Slices of fewer than MIN_PHOTOS photos and slices of
        all photos are omitted.
    """
    found: dict[str, dict[str, Indices]] = {"source": {}, "kind": {}}
    manifests: dict[Path, tuple[Path, Mapping[str, str]]] = {}  # resolved path and sources, by evaluated folder
    for number, (path, label) in enumerate(zip(photos.paths, photos.labels(), strict=True)):
        folder = next((parent for parent in path.parents if parent.name == label), path.parent)
        if folder.parent not in manifests:
            resolved = folder.parent.resolve()
            manifests[folder.parent] = resolved, _sources(resolved)
        resolved, sources = manifests[folder.parent]
        relative = path.relative_to(folder)
        source = sources.get((resolved / folder.name / relative).as_posix())
        for by, name in (("source", source), ("kind", _kind(relative))):
            if name:
                found[by].setdefault(printable(name), []).append(number)
    return {by: kept for by, parts in found.items() if (kept := _large_enough(parts, len(photos)))}


def _kind(relative: Path) -> str | None:
    if len(relative.parts) > 1:
        return relative.parts[0]
    kind, dash, _ = relative.stem.partition("-")
    return kind if dash else None


def _large_enough(parts: Mapping[str, Indices], total: int) -> dict[str, Indices]:
    return {name: part for name, part in sorted(parts.items()) if MIN_PHOTOS <= len(part) < total}


def _sources(folder: Path) -> dict[str, str]:
    """Return the source of each file, by absolute path, from the nearest manifest in or above a folder."""
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
            reason = "a line has too few columns"
        except (OSError, ValueError, csv.Error) as error:
            reason = str(error)
        _log.warning("The sources in %s are ignored: %s.", manifest, reason)
        break
    return {}
