"""Familiarity: how similar a photo is to the training photos, by a Gaussian over pooled features."""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

AXES = 64  # principal axes with their own variance; all others share one variance
FAMILIAR_SHARE = 0.95  # share of the validation photos that count as familiar


def fit_gaussian(features: Array) -> tuple[Array, Array, float]:
    """Fit the mean and the covariance of features: principal axes, and one variance for all other directions.

    The model is probabilistic PCA (Tipping and Bishop 1999, doi:10.1111/1467-9868.00196), so that a few axes describe
    thousands of channels. The Mahalanobis distance detects unfamiliar photos (Lee et al. 2018, arXiv:1807.03888).

    Args:
        features: float32 [N, C], averaged over the grid.

    Returns:
        The mean, float32 [C]; the scaled axes, float32 [C, AXES]; and the standard deviation of all other directions.
        Each axis is a unit vector times sqrt(1 - deviation^2 / variance), and unused axes are 0. With
        r = feature - mean, the squared distance is (|r|^2 - |r @ axes|^2) / deviation^2.
    """
    mean = features.mean(0)
    _, singular_values, directions = np.linalg.svd((features - mean).astype(np.float64), full_matrices=False)
    variances = singular_values**2 / max(1, len(features) - 1)
    count = min(AXES, len(variances) - 1, features.shape[1] - 1)
    other_variance = max(float(variances[count:].sum()) / (features.shape[1] - count), 1e-12)
    scale = np.sqrt(np.maximum(0, 1 - other_variance / np.maximum(variances[:count], other_variance)))
    axes = np.zeros((features.shape[1], AXES), np.float32)
    axes[:, :count] = directions[:count].T * scale
    return mean, axes, float(np.sqrt(other_variance))


def familiarity_level(familiarity: Array) -> float:
    """Return the level below which a photo is unfamiliar; FAMILIAR_SHARE of the photos, float32 [N], are above it."""
    return float(np.quantile(familiarity, 1 - FAMILIAR_SHARE))
