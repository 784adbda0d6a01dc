"""Compares the live answers of one model with those that its file expects, and with those of the model before it."""

import contextlib
import math
import threading
from collections import deque
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from service.metadata import HISTOGRAM_BINS, Metadata
from service.model import Verdict

WINDOW = 1000  # photos
MIN_PHOTOS = 200  # of a comparison
_SIGNIFICANCE = 0.001
_Z = NormalDist().inv_cdf(1 - _SIGNIFICANCE / 2)
_EDGES = np.linspace(0, 1, HISTOGRAM_BINS + 1)
VALIDATION, FIRST = "validation photos", f"first {WINDOW:,} photos"

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Sample:
    """Answers: a histogram of probabilities, int64 [HISTOGRAM_BINS], and shares in [0, 1], None if unknown."""

    histogram: Counts
    uncertain: float
    unfamiliar: float | None

    @property
    def photos(self) -> int:
        """The number of photos."""
        return int(self.histogram.sum())


@dataclass(frozen=True)
class Drift:
    """The comparison of live answers with a reference.

    Attributes:
        statistic: of the two-sample Kolmogorov-Smirnov test, in [0, 1].
        critical: value of the statistic that chance exceeds with a probability of 0.001.
        live, reference: what is compared.
        source: of the reference, VALIDATION or FIRST.
    """

    statistic: float
    critical: float
    live: Sample
    reference: Sample
    source: str

    def __str__(self) -> str:
        found = "differ from" if self.statistic > self.critical else "are like"
        return (
            f"The probabilities of the last {self.live.photos:,} photos {found} those of the {self.source} "
            f"(Kolmogorov-Smirnov {self.statistic:.3f}, limit {self.critical:.3f}); "
            f"{self.live.uncertain:.1%} are uncertain, {self.reference.uncertain:.1%} there."
        )


@dataclass(frozen=True)
class LabelCounts:
    """How many photos got the positive label."""

    photos: int
    positive: int

    def differs_from(self, other: "LabelCounts") -> bool:
        """Return whether the 99.9% interval of the difference between both shares excludes 0.

        The interval is method 10 of Newcombe (1998), Statistics in Medicine 17:873. It takes Wilson's interval of each
        share, so it also holds near 0 and 1.
        """
        difference = self.positive / self.photos - other.positive / other.photos
        low, high = self._distances()
        other_low, other_high = other._distances()
        return difference > math.hypot(low, other_high) or -difference > math.hypot(high, other_low)

    def _distances(self) -> tuple[float, float]:
        """Return how far the bounds of Wilson's interval (1927) are below and above the share."""
        count, share = self.photos, self.positive / self.photos
        scale = 1 + _Z**2 / count
        middle = (share + _Z**2 / (2 * count)) / scale
        half = _Z * math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2)) / scale
        return share - (middle - half), middle + half - share

    def __str__(self) -> str:
        return f"{self.positive / self.photos:.1%} of {self.photos:,} photos"


class LiveVerdicts:
    """What one model has answered. Its methods are thread-safe."""

    def __init__(self, metadata: Metadata) -> None:
        self._lock = threading.Lock()
        self._window: deque[tuple[int, Verdict]] = deque(maxlen=WINDOW)  # each with its bin
        self._photos = self._positive = 0
        self._reference, self._source = _expected(metadata), VALIDATION

    def add(self, verdict: Verdict) -> None:
        """Add the answer to one photo."""
        if math.isnan(verdict.probability):  # a broken model must not break the answer too
            return
        number = min(int(verdict.probability * HISTOGRAM_BINS), HISTOGRAM_BINS - 1)
        with self._lock:
            if self._reference is None and self._photos == WINDOW:
                self._reference, self._source = _sample(list(self._window)), FIRST
                self._window.clear()
            self._window.append((number, verdict))
            self._photos += 1
            self._positive += verdict.positive

    def mix(self) -> LabelCounts:
        """Return the mix of labels of all photos."""
        with self._lock:
            return LabelCounts(self._photos, self._positive)

    def last_mix(self) -> LabelCounts:
        """Return the mix of labels of the last photos, at most WINDOW."""
        with self._lock:
            return LabelCounts(len(self._window), sum(verdict.positive for _, verdict in self._window))

    def drift(self) -> Drift | None:
        """Compare the last photos with the reference; None while there are too few."""
        with self._lock:
            window, reference, source = list(self._window), self._reference, self._source
        if reference is None or len(window) < MIN_PHOTOS:
            return None
        live = _sample(window)
        ours, theirs = (np.cumsum(each.histogram) / each.photos for each in (live, reference))
        # Smirnov (1948), Annals of Mathematical Statistics 19:279: the limit of the distribution. Bins make the
        # statistic smaller, never larger, so they cause no false alarm.
        critical = math.sqrt(-math.log(_SIGNIFICANCE / 2) / 2 * (1 / live.photos + 1 / reference.photos))
        return Drift(float(np.abs(ours - theirs).max()), critical, live, reference, source)


class Probation:
    """Judges the mix of labels of a new model by that of the model before it.

    It looks when there are MIN_PHOTOS photos, then whenever their number has doubled: with a look at every photo,
    chance would leave the interval sooner or later.
    """

    def __init__(self, expected: LabelCounts) -> None:
        self.expected = expected
        self._next = MIN_PHOTOS

    def fails(self, mix: LabelCounts) -> bool:
        """Return whether the mix of labels of the new model is another one."""
        if mix.photos < self._next:
            return False
        self._next = 2 * mix.photos
        return mix.differs_from(self.expected)


def _sample(window: list[tuple[int, Verdict]]) -> Sample:
    verdicts = [verdict for _, verdict in window]
    unfamiliar = [verdict.unfamiliar for verdict in verdicts if verdict.unfamiliar is not None]
    return Sample(
        np.bincount([number for number, _ in window], minlength=HISTOGRAM_BINS),
        float(np.mean([verdict.uncertain for verdict in verdicts])),
        float(np.mean(unfamiliar)) if unfamiliar else None,
    )


def _expected(metadata: Metadata) -> Sample | None:
    """Return the answers to the validation photos; None for an older file."""
    if metadata.probability_histogram is None:
        return None
    counts = np.array(metadata.probability_histogram, np.int64)
    shares = np.concatenate([[0], np.cumsum(counts)]) / counts.sum()
    low, high = np.interp([metadata.uncertain_low, metadata.uncertain_high], _EDGES, shares)
    unfamiliar = None
    with contextlib.suppress(LookupError, TypeError, ValueError):  # nothing checks the metrics
        unfamiliar = float(metadata.metrics["validation"]["unfamiliar"]["value"])
    return Sample(counts, float(high - low), unfamiliar)
