"""The one error that ends a command or a start-up with a sentence instead of a traceback."""


class SeeFoodError(Exception):
    """Something the person at the keyboard can mend; the message is one sentence: what is wrong and what to do."""
