"""A cache of values by the content of photos, in one SQLite file of the model registry."""

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import numpy.typing as npt

from service.errors import SeeFoodError

CACHE = ".cache.sqlite"  # in the registry folder
_TIMEOUT = 60  # seconds to wait for another process that writes
_REMEDIES = {
    sqlite3.SQLITE_FULL: "make room on its disk",
    sqlite3.SQLITE_IOERR_WRITE: "make room on its disk",
    sqlite3.SQLITE_BUSY: "try again when the other command has ended",
}


class Cache:
    """Bytes by namespace and SHA-256 of a photo, in a file that can be deleted at any time.

    Standard SQLite, and no pickle: reading a file that somebody else wrote runs no code.

    Args:
        path: the file; None: nothing is kept.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def get(self, namespace: str, digests: Sequence[str]) -> dict[str, bytes]:
        """Return the values of those digests that are in the cache; raises SeeFoodError if the file can't be used."""
        if self._path is None:
            return {}
        try:
            with closing(self._open(self._path)) as connection:
                query = (
                    "SELECT digest, value FROM entries "
                    "WHERE namespace = ? AND digest IN (SELECT value FROM json_each(?))"
                )
                return dict(connection.execute(query, (namespace, json.dumps(list(digests)))))
        except sqlite3.Error as error:
            raise self._describe(error) from error

    def put(self, namespace: str, values: Mapping[str, bytes]) -> None:
        """Store values by digest, all or none; raises SeeFoodError if the file can't be used."""
        if self._path is None:
            return
        try:
            with closing(self._open(self._path)) as connection, connection:
                rows = [(namespace, digest, value) for digest, value in values.items()]
                connection.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", rows)
        except sqlite3.Error as error:
            raise self._describe(error) from error

    def rows(
        self,
        namespace: str,
        digests: Sequence[str],
        compute: Callable[[list[int]], npt.NDArray[np.float32]],
    ) -> npt.NDArray[np.float32]:
        """Return one float32 row for each photo; only rows that are not in the cache are computed.

        Args:
            namespace: identifies everything that the rows depend on apart from the photo.
            digests: SHA-256 of the photos, hex, [N].
            compute: returns float32 [K, C] for the photos at K positions.

        Returns:
            float32 [N, C].

        Raises:
            SeeFoodError: the file can't be used.
        """
        cached = self.get(namespace, digests)
        found = {digest: np.frombuffer(value, np.float32) for digest, value in cached.items()}
        if missing := [i for i, digest in enumerate(digests) if digest not in found]:
            new = {digests[i]: row for i, row in zip(missing, compute(missing), strict=True)}
            self.put(namespace, {digest: row.tobytes() for digest, row in new.items()})
            found |= new
        return np.stack([found[digest] for digest in digests])

    @staticmethod
    def _open(path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=_TIMEOUT)
        with connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS entries "
                "(namespace TEXT, digest TEXT, value BLOB, PRIMARY KEY (namespace, digest)) WITHOUT ROWID"
            )
        return connection

    def _describe(self, error: sqlite3.Error) -> SeeFoodError:
        remedy = _REMEDIES.get(error.sqlite_errorcode, "delete it")
        return SeeFoodError(f"The cache {self._path} can't be used ({error}); {remedy}.")
