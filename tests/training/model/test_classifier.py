"""The outputs of the classifier agree; features are computed once; the head equals the linear probe."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from sklearn.linear_model import LogisticRegression
from torch import nn

from tests.fixtures.clouds import two_clouds
from tests.fixtures.drawing import draw_folder
from training.data.cache import Cache
from training.data.photos import find_photos_to_train
from training.model.backbones import BACKBONES
from training.model.classifier import (
    FAMILIAR_SHARE,
    build_classifier,
    cached_features,
    familiarity_level,
    out_of_fold_probabilities,
    untrained_parameters,
)


def test_the_heatmaps_mean_is_the_logit_of_pooling_and_one_linear_unit() -> None:
    network, _ = build_classifier("none")
    nn.init.normal_(network.head.weight)
    network.temperature.fill_(2.0)
    network.eval()
    pixels = torch.randint(0, 256, (3, 224, 224, 3), dtype=torch.uint8)
    with torch.inference_mode():
        probability, heatmap, _ = network(pixels)
        pooled = network.features((pixels.permute(0, 3, 1, 2) - network.mean) / network.std).mean((2, 3))
        logit = nn.functional.linear(pooled, network.head.weight.flatten(1), network.head.bias).squeeze(1)
    assert heatmap.shape == (3, 7, 7)
    torch.testing.assert_close(heatmap.mean((1, 2)), logit)
    torch.testing.assert_close(probability, torch.sigmoid(logit / 2))


def test_without_weights_all_parameters_are_untrained() -> None:
    network, absent = build_classifier("none")
    assert {f"features.{name}" for name, _ in network.features.named_parameters()} <= {f"features.{n}" for n in absent}


def test_preprocessing_is_that_of_the_official_weights() -> None:
    network, _ = build_classifier("none")
    official = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
    assert (network.mean.flatten() / 255).tolist() == pytest.approx(official.mean)
    assert (network.std.flatten() / 255).tolist() == pytest.approx(official.std)
    assert official.crop_size == [network.size]


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_exits_learn(name: str) -> None:
    network, _ = build_classifier("none", name)
    exits = network.train().logits_of_all_heads(torch.zeros(2, 299, 299, 3, dtype=torch.uint8))
    assert [logits.shape for logits in exits] == [(2,)] * (1 + len(BACKBONES[name].auxiliary))
    sum(logits.sum() for logits in exits).backward()  # type: ignore[union-attr]
    assert all(weight.grad is not None for weight in network.auxiliary.parameters())
    assert any(name.startswith("auxiliary.") for name in untrained_parameters(network, []))


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_inception_networks_get_channels_from_minus_one_to_one(name: str) -> None:
    """These two expect channels in [-1, 1], as torchvision's transform_input computes them."""
    network, _ = build_classifier("none", name)
    pixels = torch.randint(0, 256, (1, 8, 8, 3), dtype=torch.uint8)
    transform = torchvision.models.get_model(name, weights=None, transform_input=True, init_weights=False)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    imagenet = ((pixels / 255 - mean) / std).permute(0, 3, 1, 2)
    torch.testing.assert_close(network.normalize(pixels), transform._transform_input(imagenet), atol=1e-5, rtol=0)


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
    network.set_head_to_probe(features, targets)
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
    network.fit_gaussian(features)
    some = features[:50]
    expected = -np.sqrt((((some - 3) / spread) ** 2).mean(1))
    np.testing.assert_allclose(network.familiarity(torch.from_numpy(some)).numpy(), expected, rtol=0.05)


def test_distant_features_and_one_in_twenty_usual_ones_are_unfamiliar() -> None:
    random = np.random.default_rng(1)
    mixing = random.normal(size=(512, 512)) / 20
    features = (random.normal(size=(3000, 512)) @ mixing).astype(np.float32)
    network, _ = build_classifier("none")
    network.fit_gaussian(features[:2000])
    usual = network.familiarity(torch.from_numpy(features[2000:])).numpy()
    assert (usual >= familiarity_level(usual)).mean() == pytest.approx(FAMILIAR_SHARE, abs=0.01)
    far = network.familiarity(torch.from_numpy(features[2000:] + 2)).numpy()
    assert (far < familiarity_level(usual)).all()


def test_few_photos_are_enough_to_fit() -> None:
    features = np.random.default_rng(2).normal(size=(10, 512)).astype(np.float32)
    network, _ = build_classifier("none")
    network.fit_gaussian(features)
    assert np.isfinite(network.familiarity(torch.from_numpy(features)).numpy()).all()
