"""How much a photo resembles the training photos: a Gaussian over pooled features, and its Mahalanobis distance."""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

AXES = 64  # principal axes with a variance of their own; the others share one
SHARE = 0.95  # of the validation photos that count as familiar


def fit_gaussian(features: Array) -> tuple[Array, Array, float]:
    """Fit the mean and the covariance of features: principal axes, and one variance for all that is left.

    The model is probabilistic PCA (Tipping and Bishop 1999, doi:10.1111/1467-9868.00196), so that a few axes describe
    thousands of channels; the distance under it tells unfamiliar photos (Lee et al. 2018, arXiv:1807.03888).

    Args:
        features: float32 [N, C], averaged over the grid.

    Returns:
        The mean, float32 [C]; the axes, float32 [C, K] with K at most AXES; and the standard deviation of the rest.
        Each axis is a unit vector times sqrt(1 - rest / variance): with r = feature - mean, the squared distance is
        (|r|^2 - |r @ axes|^2) / rest^2, where `rest` is squared to a variance first.
    """
    mean = features.mean(0)
    _, deviations, directions = np.linalg.svd((features - mean).astype(np.float64), full_matrices=False)
    variances = deviations**2 / max(1, len(features) - 1)
    count = min(AXES, len(variances) - 1, features.shape[1] - 1)
    rest = max(float(variances[count:].sum()) / (features.shape[1] - count), 1e-12)
    shrinking = np.sqrt(np.maximum(0, 1 - rest / np.maximum(variances[:count], rest)))
    axes = np.zeros((features.shape[1], AXES), np.float32)
    axes[:, :count] = directions[:count].T * shrinking
    return mean, axes, float(np.sqrt(rest))


def level(familiarity: Array) -> float:
    """Return the level below which a photo is unfamiliar: SHARE of the validation photos, float32 [N], are above it."""
    return float(np.quantile(familiarity, 1 - SHARE))
