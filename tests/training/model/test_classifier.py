"""The outputs of the classifier agree; full, partial and damaged weights are handled; what is fitted is exact."""

from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import timm
import torch
import torchvision
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from service.errors import SeeFoodError
from tests.fixtures.clouds import two_clouds
from tests.fixtures.drawing import draw_folder
from training.data.cache import Cache
from training.data.folders import find_photos_to_train
from training.model.backbones import BACKBONES, classifier_key
from training.model.classifier import (
    FAMILIAR_SHARE,
    build_classifier,
    cached_features,
    familiarity_level,
    out_of_fold_probabilities,
    untrained_parameters,
)


@pytest.fixture(scope="module")
def official() -> dict[str, Tensor]:
    """Return a state_dict like that of the official download."""
    torch.manual_seed(1)
    state: dict[str, Tensor] = torchvision.models.resnet18().state_dict()
    return state


def _save(state: object, folder: Path) -> str:
    torch.save(state, folder / "weights.pth")
    return str(folder / "weights.pth")


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


def test_full_weights_are_loaded_and_nothing_is_absent(official: dict[str, Tensor], tmp_path: Path) -> None:
    network, absent = build_classifier(_save(official, tmp_path))
    assert absent == []
    own = network.features.state_dict()
    assert own.keys() == {name for name in official if not name.startswith("fc.")}
    assert all(torch.equal(own[name], official[name]) for name in own)


def test_what_partial_weights_lack_is_listed_and_starts_as_the_identity(
    official: dict[str, Tensor], tmp_path: Path
) -> None:
    partial = {name: value for name, value in official.items() if not name.startswith(("layer4.1.", "fc."))}
    network, absent = build_classifier(_save(partial, tmp_path))
    assert absent[0] == "layer4.1.conv1.weight"
    assert {name.rpartition(".")[0] for name in absent} == {
        f"layer4.1.{part}" for part in ("conv1", "bn1", "conv2", "bn2")
    }
    block = network.get_submodule("features.layer4.1").eval()
    activations = torch.rand(1, 512, 7, 7)
    torch.testing.assert_close(block(activations), activations)


def test_an_unknown_tensor_is_an_error(official: dict[str, Tensor], tmp_path: Path) -> None:
    with pytest.raises(SeeFoodError, match=r"have a tensor 'layer9\.weight' that resnet18 does not have"):
        build_classifier(_save({**official, "layer9.weight": torch.zeros(1)}, tmp_path))


def test_a_misshapen_tensor_is_an_error(official: dict[str, Tensor], tmp_path: Path) -> None:
    with pytest.raises(
        SeeFoodError, match=r"'conv1\.weight' of shape \[1, 2\]; resnet18 has it of shape \[64, 3, 7, 7\]"
    ):
        build_classifier(_save({**official, "conv1.weight": torch.zeros(1, 2)}, tmp_path))


@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 nor a zip"])
def test_a_file_of_something_else_is_an_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(SeeFoodError, match=r"weights\.pth are not a state_dict"):
        build_classifier(str(tmp_path / "weights.pth"))


@pytest.mark.parametrize("state", [[1, 2], {"conv1.weight": 3}, torch.zeros(2)])
def test_an_object_of_another_kind_is_an_error(state: object, tmp_path: Path) -> None:
    with pytest.raises(SeeFoodError, match="are not a state_dict"):
        build_classifier(_save(state, tmp_path))


def test_a_pickle_that_would_run_code_is_not_run(tmp_path: Path) -> None:
    class Malice:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "ran",))

    with pytest.raises(SeeFoodError, match="are not a state_dict"):
        build_classifier(_save({"conv1.weight": Malice()}, tmp_path))
    assert not (tmp_path / "ran").exists()


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SeeFoodError, match=r"nothing\.pth can't be read: No such file"):
        build_classifier(str(tmp_path / "nothing.pth"))


def test_official_weights_are_torchvisions(
    official: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in torch's download cache replaces the download, so that torchvision's own code is tested."""
    name = Path(torchvision.models.ResNet18_Weights.DEFAULT.url).name
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(official, tmp_path / "hub" / "checkpoints" / name)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    network, absent = build_classifier("imagenet")
    assert absent == []
    assert torch.equal(network.features.state_dict()["conv1.weight"], official["conv1.weight"])


def test_official_weights_out_of_reach_are_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", unreachable)
    with pytest.raises(SeeFoodError) as caught:
        build_classifier("imagenet")
    assert "--weights PATH" in str(caught.value)
    assert "--weights none" in str(caught.value)


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_has_torchvisions_stages_and_its_own_size(name: str) -> None:
    """The stages in sequence compute the same features as torchvision's network before its pooling."""
    network, absent = build_classifier("none", name)
    official = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    reference = torchvision.models.get_model(name, weights=None, **BACKBONES[name].options).eval()
    own = network.state_dict()
    with torch.no_grad():
        for tensor, value in reference.state_dict().items():
            if classifier_key(name, tensor) in own and own[classifier_key(name, tensor)].shape == value.shape:
                value.copy_(own[classifier_key(name, tensor)])
    images = torch.rand(1, 3, 160, 160) if name != "inception_v3" else torch.rand(1, 3, 299, 299)
    last: list[Tensor] = []
    (reference.classifier if name == "densenet121" else reference.fc).register_forward_hook(
        lambda _, given, __: last.append(given[0])
    )
    with torch.inference_mode():
        reference(images)
        torch.testing.assert_close(network.eval().features(images).mean((2, 3)), last[0])
    assert network.size == {"inception_v3": 299}.get(name, 224)
    assert network.size == official.crop_size[0] or name == "resnet50"  # its newer weights use a larger crop
    assert not any(tensor.startswith(("fc.", "classifier.")) for tensor in absent)


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet18", "regnety_002", "convnext_atto", "densenet121"])
def test_a_network_of_timm_is_a_row_of_stages_with_its_own_preprocessing(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    reference: Any = timm.create_model(name).eval()
    network, absent = build_classifier(_save(reference.state_dict(), tmp_path), f"timm/{name}")
    assert absent == []
    config = timm.get_pretrained_cfg(name)
    assert config is not None
    pixels = torch.randint(0, 256, (2, network.size, network.size, 3), dtype=torch.uint8)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (config.mean, config.std))
    with torch.inference_mode():
        expected = reference.forward_features((pixels.permute(0, 3, 1, 2) / 255 - mean) / std).mean((2, 3))
        torch.testing.assert_close(network.eval().pooled_features(pixels), expected, atol=1e-4, rtol=1e-4)
    assert network.size == config.input_size[1]


def test_missing_weights_of_timm_are_untrained_parameters(tmp_path: Path) -> None:
    state = timm.create_model("tf_efficientnet_lite0").state_dict()
    kept = {name: value for name, value in state.items() if not name.startswith(("blocks.6.", "classifier."))}
    network, absent = build_classifier(_save(kept, tmp_path), "timm/tf_efficientnet_lite0")
    assert absent
    assert all(name.startswith("blocks.6.") for name in absent)
    fresh = untrained_parameters(network, absent)
    assert {name for name, _ in network.named_parameters() if name.startswith("features.blocks6.")} <= fresh
    assert not any(name.startswith("features.blocks5.") for name in fresh)


@pytest.mark.parametrize("name", ["timm/no_such_network", "resnet19", "timm/", "timm/vit_tiny_patch16_224"])
def test_a_backbone_that_is_none_is_a_sentence(name: str) -> None:
    with pytest.raises(SeeFoodError, match=r"(no backbone|The backbone) '?timm/|no backbone 'resnet19'; name one of"):
        build_classifier("none", name)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_exits_learn(name: str) -> None:
    network, _ = build_classifier("none", name)
    exits = network.train().logits_of_all_heads(torch.zeros(2, 299, 299, 3, dtype=torch.uint8))
    assert [logits.shape for logits in exits] == [(2,)] * (1 + len(BACKBONES[name].auxiliary))
    sum(logits.sum() for logits in exits).backward()  # type: ignore[union-attr]
    assert all(weight.grad is not None for weight in network.auxiliary.parameters())
    assert any(name.startswith("auxiliary.") for name in untrained_parameters(network, []))


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_networks_made_for_other_channels_see_them_as_torchvision_shows_them(name: str) -> None:
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


def test_what_is_far_is_unfamiliar_and_a_twentieth_of_the_usual_is_too() -> None:
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
