"""Features are computed once; the head equals the linear probe; familiarity is the Mahalanobis distance."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from tests.fixtures.clouds import two_clouds
from tests.fixtures.drawing import draw_folder
from training.data.cache import Cache
from training.data.folders import find_photos_to_train
from training.model.classifier import build_classifier
from training.model.features import (
    FAMILIAR_SHARE,
    cached_features,
    familiarity_level,
    fit_gaussian,
    out_of_fold_probabilities,
    set_head_to_probe,
)


def test_features_are_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = find_photos_to_train(draw_folder(tmp_path / "photos", each=32)).take([0, 1, 40])
    network, _ = build_classifier("none")
    cache = Cache(tmp_path / "cache.sqlite")
    first = cached_features(network, photos, ["a", "b", "c"], cache)
    assert first.shape == (3, 512)
    monkeypatch.setattr(network, "pooled_features", None)
    assert np.array_equal(cached_features(network, photos, ["a", "b", "c"], cache), first)
    assert np.array_equal(
        cached_features(network, photos.take([2]), ["c"], Cache(tmp_path / "cache.sqlite")), first[2:]
    )


def test_the_head_is_the_probe() -> None:
    features, targets = two_clouds(300)
    network, _ = build_classifier("none")
    set_head_to_probe(network, features, targets)
    maps = torch.from_numpy(features)[:, :, None, None]
    with torch.inference_mode():
        probabilities = torch.sigmoid(network.head(maps).flatten()).numpy()
    standard = (features - features.mean(0)) / features.std(0)
    expected = LogisticRegression(C=0.01, max_iter=2000).fit(standard, targets).predict_proba(standard)[:, 1]
    np.testing.assert_allclose(probabilities, expected, atol=1e-3)


def test_predictions_out_of_fold_do_not_know_their_label() -> None:
    """Noise has no information about the labels."""
    features, targets = two_clouds(300)
    noise = np.random.default_rng(1).normal(size=features.shape).astype(np.float32)
    assert abs(((out_of_fold_probabilities(noise, targets) > 0.5) == (targets == 1)).mean() - 0.5) < 0.12
    assert ((out_of_fold_probabilities(features, targets) > 0.5) == (targets == 1)).mean() > 0.9


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
