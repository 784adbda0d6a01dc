"""The learning curve: error by number of training photos, and what more photos would bring."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from training.evaluation.metrics import Metric, proportions
from training.model.classifier import probe_probabilities

Array = npt.NDArray[np.float32]

FRACTIONS = (0.1, 0.2, 0.4, 0.7, 1.0)  # of the training photos
SEEDS = 5  # random subsets of each size
_RESAMPLES = 400
_EXPONENTS = (0.05, 1.0)  # measured curves are in this range (arXiv:1712.00409)
_QUANTILES = (0.025, 0.5, 0.975)


@dataclass(frozen=True)
class Forecast:
    """What more photos are expected to bring.

    Attributes:
        more: number of additional photos.
        fall: expected fall of the error rate, in [0, 1], with its 95% interval.
    """

    more: int
    fall: Metric


@dataclass(frozen=True)
class LearningCurve:
    """Error rates on the same held-out photos by the number of training photos.

    Attributes:
        counts: number of training photos of each point, ascending.
        errors: error rates in [0, 1] of each point, one for each subset of that size.
        held_out: number of held-out photos.
        error: error rate with all training photos, with its 95% interval.
        laws: floor, scale and exponent of each resampled law, [R, 3]; the error is floor + scale * share ^ -exponent,
            where the share is the number of photos divided by that of all training photos.
        forecast: None: the probe is right on all held-out photos, so no fall can be measured.
    """

    counts: tuple[int, ...]
    errors: tuple[tuple[float, ...], ...]
    held_out: int
    error: Metric
    laws: npt.NDArray[np.float64]
    forecast: Forecast | None

    @property
    def means(self) -> list[float]:
        """Return the mean error rate of each point."""
        return [float(np.mean(each)) for each in self.errors]

    def band(self, counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the lower bound, the median and the upper bound of the laws for numbers of photos, [K]: [3, K]."""
        rates = [_power_law(counts / self.counts[-1], *law) for law in self.laws]
        bounds: npt.NDArray[np.float64] = np.quantile(rates, _QUANTILES, axis=0)
        return bounds

    def __str__(self) -> str:
        now = f"With {self.counts[-1]:,} training photos, a linear probe is "
        if self.forecast is None:
            return (
                f"{now}right on all {self.held_out:,} held-out photos (95% interval of its error: 0 to "
                f"{self.error.high:.1%}), so these can't show what more photos would bring."
            )
        fall = self.forecast.fall
        return (
            f"{now}wrong on {self.error.value:.1%} of {self.held_out:,} held-out photos; {self.forecast.more:,} more "
            f"photos are expected to lower this by {fall.value * 100:.1f} points (95% interval: {fall.low * 100:.1f} "
            f"to {fall.high * 100:.1f})."
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the curve in the format of its JSON file."""
        counts = np.geomspace(self.counts[0], self.counts[-1] + (self.forecast.more if self.forecast else 0), 20)
        return {
            "sentence": str(self),
            "points": [
                {"photos": count, "error": float(np.mean(each)), "errors": list(each)}
                for count, each in zip(self.counts, self.errors, strict=True)
            ],
            "held_out": self.held_out,
            "error": vars(self.error),
            "curve": [
                {"photos": round(float(count)), "low": low, "error": middle, "high": high}
                for count, low, middle, high in zip(counts, *self.band(counts).tolist(), strict=True)
            ],
            "forecast": self.forecast and {"more": self.forecast.more, "fall": vars(self.forecast.fall)},
        }


def learning_curve(
    training: tuple[Array, Array], held_out: tuple[Array, Array], seed: int, more: int | None = None
) -> LearningCurve:
    """Fit linear probes on growing parts of the training photos, and extrapolate their error.

    Each part has the mix of the classes, and for one seed the smaller parts are in the larger ones. The law is an
    inverse power law with a floor (Hestness et al. 2017, arXiv:1712.00409). Five points do not determine its exponent,
    so each bootstrap sample of held-out photos, subsets and points gets a random one. The least-squares exponent would
    give intervals that are much too narrow.

    Args:
        training: features, float32 [N, C], and targets, 0 or 1, [N], of both classes.
        held_out: the same of the photos that measure the error.
        seed: of the subsets and the bootstrap.
        more: number of additional photos; None: N, as many again.
    """
    wrong = _wrong(training, held_out, seed)
    counts = tuple(sum(_sizes(training[1], fraction)) for fraction in FRACTIONS)
    errors = tuple(tuple(float(rate) for rate in each.mean(1)) for each in wrong)
    laws = _resampled_laws(wrong, held_out[1], np.array(counts) / counts[-1], seed)
    more = more or counts[-1]
    forecast = None
    if wrong[-1].any():
        now, later = np.array([_power_law(np.array([1, 1 + more / counts[-1]]), *law) for law in laws]).T
        low, middle, high = np.quantile(now - later, _QUANTILES)
        forecast = Forecast(more, Metric(float(middle), float(low), float(high)))
    error = proportions({"error": wrong[-1][0]})["error"]
    return LearningCurve(counts, errors, len(held_out[1]), error, laws, forecast)


def _wrong(training: tuple[Array, Array], held_out: tuple[Array, Array], seed: int) -> list[npt.NDArray[np.bool_]]:
    """Return for each fraction which held-out photos are classified wrongly, bool [subsets, photos]."""
    (features, targets), (others, truth) = training, held_out
    wrong: list[list[npt.NDArray[np.bool_]]] = [[] for _ in FRACTIONS]
    for subset in range(SEEDS):
        random = np.random.default_rng([seed, subset])
        orders = [random.permutation(np.flatnonzero(targets == target)) for target in (1, 0)]
        for found, fraction in zip(wrong, FRACTIONS, strict=True):
            if fraction < 1 or not found:  # there is only one subset of all photos
                sizes = _sizes(targets, fraction)
                part = np.concatenate([order[:size] for order, size in zip(orders, sizes, strict=True)])
                predicted = probe_probabilities(features[part], targets[part], others) >= 0.5
                found.append(predicted != (truth == 1))
    return [np.stack(each) for each in wrong]


def _sizes(targets: Array, fraction: float) -> tuple[int, int]:
    """Return how many positive and negative photos a part has: at least one of each."""
    positive = int(targets.sum())
    return max(1, round(positive * fraction)), max(1, round((len(targets) - positive) * fraction))


def _resampled_laws(
    wrong: Sequence[npt.NDArray[np.bool_]], truth: Array, shares: npt.NDArray[np.float64], seed: int
) -> npt.NDArray[np.float64]:
    """Return a law for each bootstrap sample of held-out photos (within each class), subsets and points, [R, 3]."""
    random = np.random.default_rng(seed)
    classes = [np.flatnonzero(truth == target) for target in (1, 0)]
    laws = []
    for _ in range(_RESAMPLES):
        photos = np.concatenate([random.choice(each, len(each)) for each in classes if len(each)])
        means = np.array([each[random.integers(0, len(each), len(each))][:, photos].mean() for each in wrong])
        points = random.integers(0, len(means), len(means))
        laws.append(_fit_law(shares[points], means[points], float(random.uniform(*_EXPONENTS))))
    return np.array(laws)


def _power_law(shares: npt.NDArray[np.float64], floor: float, scale: float, exponent: float) -> npt.NDArray[np.float64]:
    """Return the error rates for shares of the training photos; above 1 they are more photos."""
    return floor + scale * shares**-exponent


def _fit_law(
    shares: npt.NDArray[np.float64], errors: npt.NDArray[np.float64], exponent: float
) -> tuple[float, float, float]:
    """Return floor and scale by least squares, and the exponent; none is negative, so the law never rises."""
    (floor, scale), _ = nnls(np.stack([np.ones_like(shares), shares**-exponent], 1), errors)
    return float(floor), float(scale), exponent
