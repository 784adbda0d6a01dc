"""The records of the inbox."""

from dataclasses import dataclass
from typing import Literal

State = Literal["waiting", "accepted", "dropped"]
WAITING: State = "waiting"
ACCEPTED: State = "accepted"
DROPPED: State = "dropped"
STATES = (WAITING, ACCEPTED, DROPPED)
CORRECTION, UNCERTAIN, UNFAMILIAR, SAMPLE = "correction", "uncertain", "unfamiliar", "sample"
SHADOW = "shadow"  # the served model and the candidate disagree
IMPORTED, RECOVERED = "imported", "recovered"
REASONS = (CORRECTION, UNCERTAIN, UNFAMILIAR, SAMPLE, SHADOW, IMPORTED, RECOVERED)


@dataclass(frozen=True)
class Sender:
    """Who sent a photo: the id of the API key, if one is needed, and the address; the address is stored hashed."""

    key: str | None
    address: str


@dataclass(frozen=True)
class ModelVerdict:
    """What a model said of a photo.

    Attributes:
        version: of the model.
        positive: the positive label.
        label: the predicted label.
        probability: of the positive label, in [0, 1].
        unfamiliar: whether the photo is unlike the training photos; None if the model can't tell.
    """

    version: str
    positive: str
    label: str
    probability: float
    unfamiliar: bool | None


@dataclass(frozen=True)
class NewPhoto:
    """A photo that is to be stored: bytes of the file, its suffix, and its perceptual hash, None for a blank one."""

    data: bytes
    suffix: str
    phash: int | None


@dataclass(frozen=True)
class Limits:
    """Limits of an inbox.

    Attributes:
        max_bytes: size of all files.
        key_per_day, address_per_day: photos and votes of one key, and of one address, in 24 hours.
    """

    max_bytes: int
    key_per_day: int
    address_per_day: int


@dataclass(frozen=True)
class Decision:
    """What a reviewer decides, or decided before: a state, and the label of an accepted photo."""

    state: State
    label: str | None = None

    def __str__(self) -> str:
        return f"{self.state} {self.label}" if self.label else self.state
