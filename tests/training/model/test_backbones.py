"""Full, partial and damaged weights are handled; each backbone can be trained, exported, checked and served."""

import re
from pathlib import Path
from typing import Any
from urllib.error import URLError

import onnx
import pytest
import timm
import torch
import torchvision
from torch import Tensor

from service.errors import SeeFoodError
from service.model import Model
from service.registry import FILES, current_version
from tests.fixtures.drawing import draw, draw_folder, encode
from tests.fixtures.server import serving
from training.config import BACKBONE_NAMES, Hyperparameters, TrainConfig
from training.data.dataset import read_photos
from training.data.photos import find_photos_to_train
from training.model.backbones import BACKBONES, backbone_spec, build_body, classifier_key
from training.model.classifier import build_classifier, untrained_parameters
from training.train import train

_OLD = re.compile(r"(denselayer\d+\.(?:norm|conv))(\d)")
LITE = "timm/tf_efficientnet_lite0"


def _weights(name: str, folder: Path, path: Path) -> str:
    """Save random weights with batch norm statistics of the drawings, as pretrained weights have those of photos."""
    torch.manual_seed(0)
    if name.startswith("timm/"):
        network = timm.create_model(name.removeprefix("timm/"))
    else:
        network = torchvision.models.get_model(name, weights=None, **BACKBONES[name].options)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # a plain average
    pixels = read_photos(find_photos_to_train(folder).take(range(0, 64, 8)), backbone_spec(name).size)
    with torch.inference_mode():
        network.train()((torch.from_numpy(pixels).permute(0, 3, 1, 2) - 127.5) / 60)
    torch.save(network.state_dict(), path)
    return str(path)


def test_the_command_line_knows_every_backbone() -> None:
    assert tuple(BACKBONES) == BACKBONE_NAMES


@pytest.fixture(scope="module")
def official() -> dict[str, Tensor]:
    """Return a state_dict like that of the official download."""
    torch.manual_seed(1)
    state: dict[str, Tensor] = torchvision.models.resnet18().state_dict()
    return state


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "googlenet"])
def test_official_weights_are_loaded(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is where PyTorch keeps downloads. That of DenseNet is of 2017: `norm.1`, and no num_batches_tracked."""
    state = torchvision.models.get_model(name, weights=None, **BACKBONES[name].options).state_dict()
    names = {key: key for key in state}
    if name == "densenet121":
        names = {key: _OLD.sub(r"\1.\2", key) for key in state if not key.endswith("num_batches_tracked")}
        assert sum(key != old for key, old in names.items()) > 500
    path = tmp_path / "hub" / "checkpoints" / Path(torchvision.models.get_model_weights(name).DEFAULT.url).name
    path.parent.mkdir(parents=True)
    torch.save({old: state[key] for key, old in names.items()}, path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    body = build_body(name, "imagenet")
    assert body.missing_keys == []
    loaded = {
        f"{stage}.{key}": value for stage, part in body.stages.items() for key, value in part.state_dict().items()
    }
    assert len(loaded) > 50
    for key, value in loaded.items():
        assert torch.equal(value, state[f"features.{key}" if f"features.{key}" in state else key]), key


def _save(state: object, folder: Path) -> str:
    torch.save(state, folder / "weights.pth")
    return str(folder / "weights.pth")


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


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("resnet18", "fc"),
        ("densenet121", "classifier"),
        ("googlenet", "aux1.fc2"),
        ("inception_v3", "AuxLogits.fc"),
        (LITE, "classifier"),
    ],
)
def test_a_last_layer_of_other_classes_is_not_used(name: str, last: str, tmp_path: Path) -> None:
    if name == LITE:
        network = timm.create_model(name.removeprefix("timm/"), num_classes=2)
    else:
        network = torchvision.models.get_model(name, weights=None, **BACKBONES[name].options)
        layer = network.get_submodule(last)
        network.set_submodule(last, torch.nn.Linear(layer.in_features, 2))
    assert build_body(name, _save(network.state_dict(), tmp_path)).missing_keys == []


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


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("timm/no_such_network", "^There is no backbone 'timm/no_such_network'; name one of resnet18, "),
        ("resnet19", "^There is no backbone 'resnet19'; name one of resnet18, "),
        ("timm/", "^There is no backbone 'timm/'; name one of resnet18, "),
        ("timm/vit_tiny_patch16_224", "is not a sequence of stages that ends in a feature map; choose"),
    ],
)
def test_an_unknown_backbone_is_refused_with_one_sentence(name: str, sentence: str) -> None:
    with pytest.raises(SeeFoodError, match=sentence):
        build_classifier("none", name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*BACKBONES, LITE])
def test_a_backbone_is_trained_and_served(name: str, tmp_path: Path) -> None:
    models, folder = tmp_path / "models", tmp_path / "photos"
    draw_folder(folder / "train", each=32)
    draw_folder(folder / "val", each=16, first=500)
    weights = _weights(name, folder / "train", tmp_path / "weights.pth")
    train_size = None if name == "inception_v3" else 64  # its auxiliary head needs large squares
    # A low learning rate keeps the linear probe, which is right for nearly all drawings.
    hyperparameters = Hyperparameters(
        epochs=1, batch_size=8, learning_rate=1e-5, augmentation="none", train_size=train_size, final_size=train_size
    )
    train(TrainConfig(folder, models, name, weights, hyperparameters=hyperparameters))
    version = models / current_version(models)
    side = {"inception_v3": 299}.get(name, 224)
    for file in FILES.values():
        graph = onnx.load(version / file).graph
        assert [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim][1:] == [side, side, 3]
        assert not [tensor.name for tensor in graph.initializer if tensor.name.startswith("auxiliary")]
        assert Model(version / file).metadata.backbone == name
    with serving(models) as server:
        described = server.request("GET", "/v1/model").json()
        assert (described["backbone"], described["input_size"]) == (name, side)
        answer = server.post_photos(encode(draw("hotdog", 2000)), encode(draw("not_hotdog", 2000)))
    assert answer.status == 200
    assert [0 <= prediction["probability"] <= 1 for prediction in answer.json()["predictions"]] == [True, True]
