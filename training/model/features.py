"""Pooled features of photos, and what is fitted to them: the linear probe and the Gaussian of familiarity."""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from training.data.cache import Cache
from training.data.dataset import validation_loader
from training.data.photos import Photos
from training.model.classifier import AXES, Array, Classifier

FAMILIAR_SHARE = 0.95  # share of the validation photos that count as familiar
_REGULARISATION = 0.01  # C: for hundreds of standardised features and a few thousand photos
_FOLDS = 5


def logits_and_features(classifier: Classifier, photos: Photos) -> tuple[Array, Array]:
    """Return the logits before calibration, float32 [N], and the pooled features, float32 [N, channels]."""
    with torch.inference_mode():
        loader = validation_loader(photos, classifier.size)
        features = torch.cat([classifier.pooled_features(pixels) for pixels, _ in loader])
        return classifier.head(features[:, :, None, None]).flatten().numpy(), features.numpy()


def cached_features(classifier: Classifier, photos: Photos, digests: Sequence[str], cache: Cache) -> Array:
    """Return the pooled features of each photo, float32 [N, channels]; only new photos are computed.

    Args:
        classifier: with pretrained weights; its head is not used.
        photos: to compute the features of.
        digests: SHA-256 of each photo, hex.
        cache: keeps the features.

    Raises:
        SeeFoodError: the cache can't be used.
    """
    classifier = classifier.eval().to(memory_format=torch.channels_last)
    weights = hashlib.sha256(classifier.backbone.encode())
    for tensor in classifier.features.state_dict().values():
        weights.update(tensor.numpy().tobytes())

    def compute(positions: list[int]) -> Array:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        loader = validation_loader(photos.take(positions), classifier.size)
        with torch.inference_mode():
            batches = [
                classifier.to(device).pooled_features(pixels.to(device)).cpu()
                for pixels, _ in tqdm(loader, "Features", unit=" batches", leave=False, disable=None)
            ]
        classifier.cpu()
        return torch.cat(batches).numpy()

    return cache.rows(f"features {weights.hexdigest()}", digests, compute)


def set_head_to_probe(classifier: Classifier, features: Array, targets: Array) -> None:
    """Fit a linear probe and make it the head.

    Args:
        classifier: its head is replaced.
        features: float32 [N, channels].
        targets: 0 or 1, [N].
    """
    scaler, regression = _probe().fit(features, targets)
    weights = regression.coef_[0] / scaler.scale_
    bias = regression.intercept_[0] - (weights * scaler.mean_).sum()
    with torch.no_grad():
        classifier.head.weight.copy_(torch.tensor(weights).view_as(classifier.head.weight))
        classifier.head.bias.fill_(float(bias))  # type: ignore[union-attr]


def out_of_fold_probabilities(features: Array, targets: Array) -> Array:
    """Return P(positive) of each photo, [N] in [0, 1], by a probe that was fitted on other photos only."""
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=0)
    return cross_val_predict(_probe(), features, targets, cv=folds, method="predict_proba")[:, 1]  # type: ignore[no-any-return]


def probe_probabilities(features: Array, targets: Array, others: Array) -> Array:
    """Fit a linear probe, and return its P(positive) of other photos, [K] in [0, 1].

    Args:
        features: float32 [N, channels].
        targets: 0 or 1, [N], of both classes.
        others: features of the other photos, float32 [K, channels].
    """
    return _probe().fit(features, targets).predict_proba(others)[:, 1]  # type: ignore[no-any-return]


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


def _probe() -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=_REGULARISATION, max_iter=2000))
