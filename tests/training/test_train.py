"""The command `seefood train`, from folders of drawings to a version in the registry."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import expit, log_expit

from scoring.score import score
from service.errors import SeeFoodError
from service.model import Floats, Verdict, open_model
from service.registry import current_version
from tests.fixtures.command import seefood
from tests.fixtures.drawing import draw_folder
from tests.fixtures.small_backbone import SMALL, SMALL_SIZE
from training import train
from training.config import SEED, TrainConfig
from training.data.cache import Cache
from training.data.checks import LabelIssue, check_photos
from training.data.dataset import read_photos
from training.data.photos import Photos, find_photos_to_train, gather, split
from training.export import onnx_export
from training.model.classifier import build_classifier


@pytest.mark.slow
def test_a_version_is_whole(trained_models: Path) -> None:
    version = trained_models / current_version(trained_models)
    assert {path.name for path in version.iterdir()} == {
        "card.md",
        "findings.json",
        "metrics.json",
        "model.int8.onnx",
        "model.onnx",
        "photos.csv",
        "report",
    }
    assert {path.name for path in trained_models.iterdir()} == {
        ".lock",
        ".cache.sqlite",
        ".runs",
        "current",
        "history.jsonl",
        version.name,
    }
    metadata = open_model(trained_models).metadata
    assert (metadata.version, metadata.positive_label, metadata.negative_label) == (
        version.name,
        "hotdog",
        "not_hotdog",
    )
    assert metadata.backbone == "resnet18"
    assert metadata.metrics == json.loads((version / "metrics.json").read_text())
    card = (version / "card.md").read_text()
    for part in (version.name, "resnet18", metadata.photos_digest, "## Known failures", "seed"):
        assert part in card
    run = trained_models / ".runs" / version.name
    assert [path.relative_to(run) for path in run.rglob("*") if path.is_file()] == [Path("fit-0", "metrics.csv")]


@pytest.mark.slow
def test_one_epoch_from_nothing_is_better_than_chance(trained_models: Path, drawn: Path) -> None:
    result = seefood(trained_models, "evaluate", drawn, "--json")
    assert json.loads(result.stdout)["roc_auc"]["low"] > 0.5


@pytest.mark.slow
def test_the_weights_that_were_validated_are_the_ones_that_are_shipped(trained_models: Path, drawn: Path) -> None:
    """The fit validates averaged weights; the checkpoint and the export must have the same weights."""
    model = open_model(trained_models, precision="float32")
    with (trained_models / ".runs" / model.metadata.version / "fit-0" / "metrics.csv").open() as table:
        (validated,) = [float(row["val_loss"]) for row in csv.DictReader(table) if row["val_loss"]]
    photos = find_photos_to_train(drawn)
    _, validation = split(photos, check_photos(photos, [], Cache(None)).digests, SEED)
    logits = model.run(read_photos(validation, 224))[1].mean((1, 2))
    loss = -log_expit(np.where(validation.targets == 1, logits, -logits)).mean()
    assert loss == pytest.approx(validated, rel=0.01)


@pytest.mark.slow
def test_the_exported_file_answers_as_the_checkpoint_does(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    monkeypatch.setattr(train, "_remove_checkpoints", lambda _: None)
    done = seefood(models, "train", drawn, "--weights", "none", "--backbone", SMALL, "--epochs", "1")
    assert done.exit_code == 0, done.stderr
    model = open_model(models, precision="float32")
    (checkpoint,) = (models / ".runs" / model.metadata.version).glob("*/best.ckpt")
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    network, _ = build_classifier("none", SMALL)
    network.load_state_dict({name.removeprefix("network."): value for name, value in state.items()})
    photos = find_photos_to_train(drawn).take(range(0, 128, 8))
    pixels = read_photos(photos, SMALL_SIZE)
    with torch.inference_mode():
        logits = network.eval().heatmap(torch.from_numpy(pixels)).mean((1, 2)).numpy()
    calibrated = model.run(pixels).heatmap.mean((1, 2))
    bias = float(np.median(calibrated - logits))  # added by the calibration
    answered = np.array([one.probability for _, one in score(model, photos.paths) if isinstance(one, Verdict)])
    expected = expit((logits + bias) / model.metadata.temperature)
    assert np.abs(answered - expected).max() <= onnx_export.PARITY_TOLERANCE


@pytest.mark.slow
def test_models_are_listed(trained_models: Path) -> None:
    version = current_version(trained_models)
    assert f"* {version}" in seefood(trained_models, "models").stdout
    assert seefood(trained_models, "models", "list").stdout == seefood(trained_models, "models").stdout
    missing = seefood(trained_models, "models", "promote", "v0", "--force")
    assert (missing.exit_code, missing.stderr.count("\n")) == (2, 1)


@pytest.mark.slow
def test_evaluate_prints_a_table(trained_models: Path, drawn: Path) -> None:
    result = seefood(trained_models, "evaluate", drawn)
    assert "64 hotdog and 64 not_hotdog photos" in result.stdout
    assert "accuracy" in result.stdout
    assert "roc auc" in result.stdout
    assert re.fullmatch(
        r"Warning: \d+ of 128 photos are training photos of .*, so its results are too good; use other photos.\n",
        result.stderr,
    )


@pytest.mark.slow
@pytest.mark.parametrize("gate", ["PARITY_TOLERANCE", "_ROUNDING"])
def test_a_failed_gate_writes_no_version(gate: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a negative tolerance every file fails."""
    monkeypatch.setattr(onnx_export, gate, -2.0)
    monkeypatch.setattr(train, "fit", _no_fit)
    folder = draw_folder(tmp_path / "photos", each=33)
    result = seefood(tmp_path / "models", "train", folder, "--weights", "none", "--backbone", SMALL)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].endswith("so no version was written.")
    shares = len(onnx_export.FLOAT32_SHARES) if gate == "_ROUNDING" else 1
    assert result.stderr.count("More layers stay in float32.") == shares - 1
    assert not list((tmp_path / "models").glob("[!.]*"))


@pytest.mark.slow
def test_more_convolutions_stay_float32_until_the_gate_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the gate allows no difference, only a file that is all float32 passes."""
    real, seen = onnx_export.check_int8, []

    def strict(exact: Floats, answers: Floats, targets: Floats, threshold: float) -> dict[str, float]:
        seen.append(float(np.abs(exact - answers).max()))
        if seen[-1] > 1e-5:
            raise onnx_export.GateError("It differs.")
        return real(exact, answers, targets, threshold)

    monkeypatch.setattr(onnx_export, "check_int8", strict)
    folder = draw_folder(tmp_path / "photos", each=33)
    network = ("--weights", "none", "--backbone", SMALL)
    result = seefood(tmp_path / "models", "train", folder, *network, "--epochs", "1")
    assert result.exit_code == 0, (seen, result.stderr)
    assert len(seen) == len(onnx_export.FLOAT32_SHARES)
    assert "with the last 100% of the convolutions in float32" in result.stderr


@pytest.mark.slow
def test_a_fit_with_nan_weights_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: str) -> tuple[torch.nn.Module, list[str]]:
        network, absent = build_classifier("none", SMALL)
        torch.nn.init.constant_(network.head.weight, float("nan"))
        return network, absent

    monkeypatch.setattr("training.train.build_classifier", broken)
    folder = draw_folder(tmp_path / "photos", each=33)
    result = seefood(tmp_path / "models", "train", folder, "--weights", "none", "--epochs", "1")
    assert result.exit_code == 2
    assert "The weights are infinite or NaN numbers after epoch 1" in result.stderr
    assert not list((tmp_path / "models").glob("[!.]*"))


def _no_fit(network: torch.nn.Module, *_: object, **__: object) -> int:
    torch.nn.init.normal_(network.get_parameter("head.weight"))
    return 1


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        ("output", "The output folder {}/models can't be used: File exists; name a folder that can be written to."),
        ("weights", "The weights {}/nothing.pth can't be read: No such file or directory."),
        ("test folder", "{}/photos/hotdog must have subfolders named hotdog, not_hotdog or both; found: none."),
        ("teacher", "The teacher {}/photos/hotdog/000.jpg is not an ONNX file; name a file of seefood train."),
        (
            "freeze",
            "The backbone resnet18 can't be frozen at 'layer9'; name one of conv1, bn1, relu, maxpool, layer1, layer2, "
            "layer3.",
        ),
    ],
)
def test_what_cannot_work_ends_before_anything_is_computed(case: str, sentence: str, tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "photos", each=32)
    models = tmp_path / "models"
    weights = "none"
    more: list[str | Path] = []
    if case == "output":
        models.touch()
    elif case == "weights":
        weights = str(tmp_path / "nothing.pth")
    elif case == "test folder":
        more = ["--test", tmp_path / "photos" / "hotdog"]
    elif case == "teacher":
        more = ["--teacher", folder / "hotdog" / "000.jpg"]
    elif case == "freeze":
        more = ["--freeze", "layer9"]
    result = seefood(models, "train", folder, "--weights", weights, *more)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"seefood: {sentence.format(tmp_path)}\n"
    assert not models.is_dir() or not any(models.iterdir())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ("--epochs", "0"),
            "--epochs 0 fits a linear probe, which requires pretrained weights; give --weights, or more epochs.",
        ),
        (
            ("--drop-suspects",),
            "--drop-suspects requires pretrained weights; give --weights, or omit --drop-suspects.",
        ),
        (
            ("--epochs", "0", "--weights", "imagenet", "--freeze", "layer1"),
            "--teacher and --freeze have no effect with --epochs 0; omit them, or give more epochs.",
        ),
        (
            ("--epochs", "0", "--weights", "imagenet", "--teacher", "teacher.onnx"),
            "--teacher and --freeze have no effect with --epochs 0; omit them, or give more epochs.",
        ),
    ],
)
def test_options_that_contradict_each_other_are_refused_before_photos_are_read(
    options: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    result = seefood(tmp_path / "models", "train", tmp_path / "nothing", "--weights", "none", *options)
    assert (result.exit_code, result.stderr) == (2, f"seefood: {sentence}\n")


def test_validation_photos_count_when_suspects_are_left_out(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small folder has enough photos only with those that are held back for validation."""

    def suspect(count: int) -> int:
        def find(photos: Photos, _: object) -> tuple[LabelIssue, ...]:
            hotdogs = [path for path in photos.paths if path.parent.name == "hotdog"]  # the first ones are fitted
            return tuple(LabelIssue(path, "hotdog", 0.1) for path in hotdogs[:count])

        monkeypatch.setattr(train, "find_label_issues", find)
        classifier, _ = train.build(config, SEED)
        return len(train.prepare(config, gather(config.folder), classifier).training)

    folder = draw_folder(tmp_path / "photos", each=33)
    config = TrainConfig(folder, tmp_path, SMALL, str(weights), drop_label_issues=True)
    assert suspect(0) - suspect(1) == 1
    with pytest.raises(SeeFoodError, match=r"^2 photos must be left out, for example .*jpg, which leaves 31 photos of"):
        suspect(2)


@pytest.mark.slow
def test_only_the_tables_of_a_complete_run_are_kept(tmp_path: Path) -> None:
    """With a retraining every night, checkpoints would fill the disk; those of other runs are needed to resume."""
    models = tmp_path / "models"
    other = models / ".runs" / "20200101-000000" / "fit-0" / "last.ckpt"
    other.parent.mkdir(parents=True)
    other.touch()
    folder = draw_folder(tmp_path / "photos", each=33)
    network = ("--weights", "none", "--backbone", SMALL)
    result = seefood(models, "train", folder, *network, "--epochs", "1", "--seeds", "2")
    assert result.exit_code == 0, result.stderr
    tables = {models / ".runs" / current_version(models) / fit / "metrics.csv" for fit in ("fit-0", "fit-1")}
    assert {path for path in (models / ".runs").rglob("*") if path.is_file()} == {other, *tables}


def test_an_interruption_before_the_fit_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "prepare", interrupt)
    folder = draw_folder(tmp_path / "photos", each=32)
    result = seefood(tmp_path / "models", "train", folder, "--weights", "none", "--backbone", SMALL)
    assert result.exit_code == 130
    assert result.stderr.startswith("seefood: Interrupted. Run the same command with --resume ")


def test_the_help_lists_the_options() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "service.cli", "train", "--help"], capture_output=True, text=True, check=True
    )
    for option in ("--weights", "--positive", "--test", "--models", "--epochs", "--seed"):
        assert option in result.stdout
