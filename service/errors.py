"""The error that ends a command or a start-up with a sentence instead of a traceback, and the one that says: later."""

import errno
import os

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
    """Something the person at the keyboard can mend; the message is one sentence: what is wrong and what to do."""

    status = 2  # what the command that ends with it exits with


class Late(Exception):
    """The deadline passed before a photo was answered."""


class Full(Exception):
    """As much is under way as may be."""


def in_words(error: OSError, otherwise: str = "A file") -> str:
    """Return the sentence for what the system refused, about a file that stands in for one the error does not name."""
    # A copy names two files; it is the second, the one being written, that a full or read-only disk refuses.
    refused = error.filename2 if error.errno in _REMEDIES and error.filename2 else error.filename
    name = otherwise if refused is None else os.fsdecode(refused)
    reason = error.strerror or str(error).strip().rpartition("\n")[2]
    remedy = _REMEDIES.get(error.errno or 0)
    return f"{name} can't be used: {reason}{f'; {remedy}' if remedy else ''}."
