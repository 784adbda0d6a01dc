"""The distance in the graph is the Mahalanobis distance, and it detects unfamiliar photos."""

import numpy as np
import pytest
import torch

from training.model.classifier import build_classifier
from training.model.familiarity import FAMILIAR_SHARE, familiarity_level, fit_gaussian


def test_the_distance_is_that_of_the_fitted_covariance() -> None:
    """If few directions have a large variance, probabilistic PCA has the full covariance."""
    random = np.random.default_rng(0)
    spread = np.concatenate([np.full(20, 5.0), np.ones(492)])
    features = (random.normal(size=(8000, 512)) * spread + 3).astype(np.float32)
    network, _ = build_classifier("none")
    network.set_gaussian(*fit_gaussian(features))
    some = features[:50]
    expected = -np.sqrt((((some - 3) / spread) ** 2).mean(1))
    np.testing.assert_allclose(network.familiarity(torch.from_numpy(some)).numpy(), expected, rtol=0.05)


def test_what_is_far_is_unfamiliar_and_a_twentieth_of_the_usual_is_too() -> None:
    random = np.random.default_rng(1)
    mixing = random.normal(size=(512, 512)) / 20
    features = (random.normal(size=(3000, 512)) @ mixing).astype(np.float32)
    network, _ = build_classifier("none")
    network.set_gaussian(*fit_gaussian(features[:2000]))
    usual = network.familiarity(torch.from_numpy(features[2000:])).numpy()
    assert (usual >= familiarity_level(usual)).mean() == pytest.approx(FAMILIAR_SHARE, abs=0.01)
    far = network.familiarity(torch.from_numpy(features[2000:] + 2)).numpy()
    assert (far < familiarity_level(usual)).all()


def test_few_photos_are_enough_to_fit() -> None:
    features = np.random.default_rng(2).normal(size=(10, 512)).astype(np.float32)
    network, _ = build_classifier("none")
    network.set_gaussian(*fit_gaussian(features))
    assert np.isfinite(network.familiarity(torch.from_numpy(features)).numpy()).all()
