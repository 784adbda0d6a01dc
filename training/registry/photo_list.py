"""The list of a version's photos: photos.csv in its folder."""

import csv
from pathlib import Path

from service.errors import SeeFoodError

PHOTOS = "photos.csv"


def read_photo_list(version: Path) -> dict[str, str]:
    """Return what each photo of a version was used for: `fit`, `validate` or `held out`.

    Args:
        version: folder of the version.

    Returns:
        The uses by the SHA-256 of the photo, hex; empty if there is no list.

    Raises:
        SeeFoodError: the list can't be read.
    """
    path = version / PHOTOS
    if not path.exists():
        return {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return {row["sha256"]: row["split"] for row in csv.DictReader(file)}
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise SeeFoodError(f"{path} can't be read: {error!r}; restore it.") from error
