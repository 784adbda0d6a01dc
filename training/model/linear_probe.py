"""A linear probe: logistic regression on the features of a pretrained network."""

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from training.model.classifier import Classifier

Array = npt.NDArray[np.float32]

_REGULARISATION = 0.01  # C: for hundreds of standardised features and a few thousand photos
_FOLDS = 5


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


def _probe() -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=_REGULARISATION, max_iter=2000))
