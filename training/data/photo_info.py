"""Facts about a photo file that follow from its content alone; they are cached by that content."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import loky

from service.decoders import Decoders
from service.phash import HASH_SIDE, contrast, perceptual_hash
from service.photo import PhotoError, read_file
from training.data.cache import Cache

DECODE_SIZE = HASH_SIDE  # px: also enough for random crops
_NAMESPACE = "photo info 1"  # the number changes when PhotoInfo or its computation changes
_BATCH = 256


@dataclass(frozen=True)
class PhotoInfo:
    """Facts about one file.

    Attributes:
        digest: SHA-256 of the bytes, hex; empty if the file can't be read.
        error: why the photo can't be used, one sentence; None if it can.
        short_side: of the photo in pixels; 0 if it can't be used.
        contrast: standard deviation of the grey levels, in [0, 127.5].
        phash: 64-bit perceptual hash, 16 hex digits; empty if the photo can't be used.
    """

    digest: str
    error: str | None = None
    short_side: int = 0
    contrast: float = 0.0
    phash: str = ""


def read_photo_info(paths: Sequence[Path], cache: Cache) -> Iterator[PhotoInfo]:
    """Yield the facts about each file, in order; raises SeeFoodError if the cache can't be used."""
    count = loky.cpu_count()
    with closing(Decoders(count)) as decoders, ThreadPoolExecutor(count) as pool:
        remaining = iter(paths)
        while batch := list(islice(remaining, _BATCH)):
            digests = list(pool.map(file_digest, batch))
            found = {digest: _from_json(value) for digest, value in cache.get(_NAMESPACE, digests).items()}
            missing = [i for i, digest in enumerate(digests) if digest not in found]
            read = pool.map(partial(_read, decoders), [batch[i] for i in missing], [digests[i] for i in missing])
            new = dict(zip(missing, read, strict=True))
            cache.put(_NAMESPACE, {info.digest: _to_json(info) for info in new.values() if info.digest})
            yield from (new[i] if i in new else found[digest] for i, digest in enumerate(digests))


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, hex; empty if the file can't be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _read(decoders: Decoders, path: Path, digest: str) -> PhotoInfo:
    try:
        grey, _ = decoders.grey(read_file(path), DECODE_SIZE)
    except PhotoError as error:
        return PhotoInfo(digest, str(error))
    except OSError as error:
        return PhotoInfo("", f"The file can't be read: {error.strerror}.")
    return PhotoInfo(digest, None, min(grey.shape), contrast(grey), f"{perceptual_hash(grey):016x}")


def _to_json(info: PhotoInfo) -> bytes:
    return json.dumps(asdict(info)).encode()


def _from_json(value: bytes) -> PhotoInfo:
    return PhotoInfo(**json.loads(value))
