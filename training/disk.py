"""Errors of a disk as one sentence that names the folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.errors import SeeFoodError, describe_os_error


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Turn an OSError without a file name, such as that of a full disk, into a SeeFoodError that names the folder."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:  # another file, such as a photo
            raise
        raise SeeFoodError(describe_os_error(error, str(folder))) from error
