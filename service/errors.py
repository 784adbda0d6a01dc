"""Errors that the service and the commands share."""

import errno
import os

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # errors of a full disk, a quota or a limit on file size
_REMEDIES = {
    errno.ENOSPC: "make room on that disk",
    errno.EDQUOT: "make room on that disk",
    errno.EFBIG: "allow larger files",
    errno.EROFS: "name a folder that can be written to",
    errno.EEXIST: "name a folder that can be written to",
    errno.ENOTDIR: "name a folder that can be written to",
    errno.EACCES: "allow it, or name another",
}


class SeeFoodError(Exception):
    """An error that the user can correct; the message is one sentence: what is wrong and what to do."""

    status = 2  # exit status of the command


class DeadlineExceeded(Exception):
    """The deadline passed before the photo was classified."""


class Overloaded(Exception):
    """The concurrency limit is reached (HTTP 429)."""


def describe_os_error(error: OSError, default_name: str = "A file") -> str:
    """Return one sentence: which file, the reason, and what to do about it.

    `default_name` stands for the file where the error names none.
    """
    # Copying a file names two files. A full or read-only disk refuses the second one, which is being written.
    refused = error.filename2 if error.errno in _REMEDIES and error.filename2 else error.filename
    name = default_name if refused is None else os.fsdecode(refused)
    reason = error.strerror or str(error).strip().rpartition("\n")[2]
    remedy = _REMEDIES.get(error.errno or 0)
    return f"{name} can't be used: {reason}{f'; {remedy}' if remedy else ''}."
