"""What is costly to compute of a photo and a network, kept on disk by the content of both."""

import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from service.errors import SeeFoodError
from training.registry.store import writing_to

Array = npt.NDArray[np.float32]


def remembered(
    folder: Path, key: str, digests: Sequence[str], compute: Callable[[list[int]], Array]
) -> npt.NDArray[np.float32]:
    """Return one row for each photo, computing only those that are not on disk yet.

    Args:
        folder: gets one file for each key; it may be deleted at any time.
        key: stands for all that the rows depend on beside the photo.
        digests: of the photos' bytes.
        compute: makes float32 rows [n, ...] of the photos at n positions.

    Raises:
        SeeFoodError: the file is damaged, or can't be written.
    """
    path = folder / f"{key}.npz"
    known: dict[str, Array] = {}
    try:
        if path.exists():
            with np.load(path, allow_pickle=False) as kept:
                known = dict(zip(kept["digests"].tolist(), kept["rows"], strict=True))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise SeeFoodError(f"The cache {path} can't be used ({error}); delete it.") from error
    if missing := [i for i, digest in enumerate(digests) if digest not in known]:
        known |= dict(zip((digests[i] for i in missing), compute(missing), strict=True))
        with writing_to(folder):
            folder.mkdir(parents=True, exist_ok=True)
            draft = folder / f".{os.getpid()}.npz"
            try:
                np.savez(draft, digests=np.array(list(known)), rows=np.stack(list(known.values())))
                draft.replace(path)
            finally:
                draft.unlink(missing_ok=True)
    return np.stack([known[digest] for digest in digests])
