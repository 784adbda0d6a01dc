"""Photo files to probabilities, in batches, exactly as the service answers them."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np

from service.model import Model
from service.photo import PhotoError, Pixels, read_file, read_photo

BATCH_SIZE = 8  # larger ones are no faster on a CPU


def score(model: Model, paths: Iterable[Path]) -> Iterator[tuple[Path, float | str]]:
    """Yield each photo with P(positive) in [0, 1], or with the sentence that says why it can't be read, in order."""
    remaining = iter(paths)
    with ThreadPoolExecutor() as pool:
        while chunk := list(islice(remaining, BATCH_SIZE)):
            photos = list(pool.map(lambda path: _read(path, model.size), chunk))
            pixels = [photo for photo in photos if not isinstance(photo, str)]
            probabilities = iter(model.run(np.stack(pixels))[0].tolist() if pixels else [])
            for path, photo in zip(chunk, photos, strict=True):
                yield path, photo if isinstance(photo, str) else next(probabilities)


def _read(path: Path, size: int) -> Pixels | str:
    try:
        return read_photo(read_file(path), size)
    except PhotoError as error:
        return str(error)
    except OSError as error:
        return f"The file can't be read: {error.strerror}."
