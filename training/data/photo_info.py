"""What a photo file is by its content alone, remembered by that content, so that a second look costs one read."""

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import imagehash
import loky
from PIL import Image

from service.decoders import Decoders
from service.errors import SeeFoodError
from service.photo import PhotoError, read_file

DECODE_AT_LEAST = 256  # px: enough for a perceptual hash, and for random crops to choose from
_TABLE = "looks_2"  # counts up when a Look, or the way it is made, changes
_AT_A_TIME = 256


@dataclass(frozen=True)
class Look:
    """One file.

    Attributes:
        digest: SHA-256 of the bytes, hex; empty where the file can't be read.
        reason: why it can't be used, one sentence; None where it can.
        short_side: of the photo, in pixels; 0 where it can't be used.
        spread: standard deviation of the grey levels, in [0, 127.5].
        phash: 64-bit perceptual hash, as 16 hex digits; empty where it can't be used.
    """

    digest: str
    reason: str | None = None
    short_side: int = 0
    spread: float = 0.0
    phash: str = ""


def look_at(paths: Sequence[Path], cache: Path | None = None) -> Iterator[Look]:
    """Yield a look at each file, in order.

    Args:
        paths: photos, or what should be photos.
        cache: a file that remembers looks, and may be deleted at any time; None: nothing is remembered.

    Raises:
        SeeFoodError: the cache is damaged or can't be written to.
    """
    with _in_words(cache), closing(_open(cache)) as store, _decoding() as (pool, decoders):
        remaining = iter(paths)
        while chunk := list(islice(remaining, _AT_A_TIME)):
            digests = list(pool.map(file_digest, chunk))
            looks = _recall(store, digests)
            news = [i for i, digest in enumerate(digests) if digest not in looks]
            fresh = list(pool.map(partial(_look, decoders), [chunk[i] for i in news], [digests[i] for i in news]))
            _remember(store, fresh)
            at = dict(zip(news, fresh, strict=True))
            yield from (at[i] if i in at else looks[digest] for i, digest in enumerate(digests))


@contextmanager
def _decoding() -> Iterator[tuple[ThreadPoolExecutor, Decoders]]:
    count = loky.cpu_count()
    with closing(Decoders(count)) as decoders, ThreadPoolExecutor(count) as pool:
        yield pool, decoders


@contextmanager
def _in_words(cache: Path | None) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        full = error.sqlite_errorcode in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE)
        remedy = "make room on its disk" if full else "delete it"
        raise SeeFoodError(f"The cache {cache} can't be used ({error}); {remedy}.") from error


def _open(cache: Path | None) -> sqlite3.Connection:
    store = sqlite3.connect(cache or ":memory:")
    with store:
        store.execute(f"CREATE TABLE IF NOT EXISTS {_TABLE} (digest TEXT PRIMARY KEY, look TEXT)")
    return store


def _recall(store: sqlite3.Connection, digests: list[str]) -> dict[str, Look]:
    marks = ", ".join("?" * len(digests))
    rows = store.execute(f"SELECT digest, look FROM {_TABLE} WHERE digest IN ({marks})", digests)  # noqa: S608
    return {digest: Look(**json.loads(text)) for digest, text in rows}


def _remember(store: sqlite3.Connection, looks: list[Look]) -> None:
    rows = [(look.digest, json.dumps(asdict(look))) for look in looks if look.digest]
    with store:
        store.executemany(f"INSERT OR REPLACE INTO {_TABLE} VALUES (?, ?)", rows)  # noqa: S608


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, hex; empty where the file can't be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _look(decoders: Decoders, path: Path, digest: str) -> Look:
    try:
        grey = decoders.grey(read_file(path), DECODE_AT_LEAST).value
    except PhotoError as error:
        return Look(digest, str(error))
    except OSError as error:
        return Look("", f"The file can't be read: {error.strerror}.")
    spread = float(grey.std())
    return Look(digest, None, min(grey.shape), round(spread, 2), str(imagehash.phash(Image.fromarray(grey))))
