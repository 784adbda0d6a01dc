"""List and read photos in files, folders and object stores, one at a time."""

import functools
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from service.errors import SeeFoodError
from service.photo import MAX_BYTES, SUFFIXES, read_file

Address = Path | str  # a file, or the URL of an object

_URL = re.compile("(s3|gs|file)://")


def address(text: str) -> Address:
    """Return a URL if the text starts with s3://, gs:// or file://, else a path."""
    return text.rstrip("/") if _URL.match(text) else Path(text)


def walk(named: Sequence[Address]) -> Iterator[Address]:
    """Yield each photo in files, folders and URLs once, in any order.

    A folder contributes the photos that `find_photos` lists. Only the names of the remaining folders, and the object
    names of one URL folder, are in memory. A folder that can't be listed is yielded itself; reading it fails.

    Raises:
        SeeFoodError: a URL can't be listed.
    """
    apart = frozenset(named)  # a photo that is also in a named folder is yielded once
    for each in dict.fromkeys(named):
        if isinstance(each, str):
            yield from _objects(each, apart)
        elif each.is_dir():
            yield from _files(each, apart)
        else:
            yield each


def read(photo: Address) -> bytes:
    """Read the bytes of one photo, up to the size limit; raises PhotoTooLarge, OSError."""
    if isinstance(photo, Path):
        return read_file(photo)
    filesystem, path = _locate(photo)
    with filesystem.open_input_stream(path) as stream:
        data: bytes = stream.read(MAX_BYTES + 1)
        return data


def _files(folder: Path, apart: frozenset[Address]) -> Iterator[Path]:
    folders = [folder]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    path = folder / entry.name
                    if entry.name.startswith(".") or path in apart:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(path)
                    elif path.suffix.lower() in SUFFIXES and _is_file(entry, path):
                        yield path
        except OSError:
            yield folder


def _is_file(entry: os.DirEntry[str], path: Path) -> bool:
    return path.is_file() if entry.is_symlink() else entry.is_file()  # without a system call


def _objects(url: str, apart: frozenset[Address]) -> Iterator[str]:
    filesystem, path = _locate(url)
    from pyarrow.fs import FileSelector, FileType

    try:
        if filesystem.get_file_info(path).type is not FileType.Directory:
            yield url
            return
        folders = [path]
        while folders:
            for entry in filesystem.get_file_info(FileSelector(folders.pop())):
                found = f"{url.partition('://')[0]}://{entry.path}"
                if entry.base_name.startswith(".") or found in apart:
                    continue
                if entry.type is FileType.Directory:
                    folders.append(entry.path)
                elif Path(entry.path).suffix.lower() in SUFFIXES:
                    yield found
    except OSError as error:
        raise SeeFoodError(f"{url} can't be listed: {first_line(error)}.") from error


def first_line(error: Exception) -> str:
    """Return the first line of an error message, without the full stop."""
    return str(error).partition("\n")[0].rstrip(".")


def _locate(url: str) -> tuple[Any, str]:
    """Return pyarrow's file system for a URL and the path in it; `%` in the path is not an escape."""
    scheme, _, path = url.partition("://")
    return _filesystem(f"{scheme}://{'/' if scheme == 'file' else path.partition('/')[0]}"), path


@functools.lru_cache(maxsize=8)  # opening one looks up the region of a bucket
def _filesystem(root: str) -> Any:
    try:
        from pyarrow.fs import FileSystem
    except ImportError as error:
        raise SeeFoodError(f"URLs such as {root} require pyarrow; run pip install '.[bulk]' in a clone.") from error
    try:
        return FileSystem.from_uri(root)[0]
    except ValueError as error:
        raise SeeFoodError(f"{root} can't be used: {first_line(error)}.") from error
