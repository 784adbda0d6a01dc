"""A fit has the same result if it is interrupted and resumed, or runs in two processes."""

import csv
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from scipy.special import log_expit

from service.errors import SeeFoodError
from service.model import Floats, open_model
from service.registry import current_version
from tests.conftest import ROOT
from tests.fixtures.command import seefood
from tests.fixtures.disk import mounted_or_skipped
from tests.fixtures.drawing import draw_folder
from tests.fixtures.small_backbone import SMALL, SMALL_SIZE
from training import train
from training.config import SEED, Hyperparameters
from training.data.cache import Cache
from training.data.checks import check_photos
from training.data.dataset import read_photos
from training.data.photos import Photos, find_photos_to_train, split
from training.model.classifier import build_classifier
from training.model.fit import fit

EPOCHS = 5  # so that the fit does not end before it is interrupted

KEEP_CHECKPOINTS = """
from service.cli import main
from training import train

if __name__ == "__main__":
    train._remove_checkpoints = lambda run: None
    main()
"""
TOGETHER = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def _arguments(photos: Path, models: Path, *more: str) -> list[str]:
    network = ["--weights", "none", "--backbone", SMALL]
    return ["train", str(photos), *network, "--epochs", str(EPOCHS), "--models", str(models), *more]


def _command(photos: Path, models: Path, *more: str) -> list[str]:
    return ["-m", "service.cli", *_arguments(photos, models, *more)]


def _train(photos: Path, models: Path, *more: str) -> Result:
    """Run the command in this process, which saves the imports of torch."""
    return seefood(models, *_arguments(photos, models, *more))


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _answers(models: Path, photos: Photos) -> Floats:
    return open_model(models, precision="float32").run(read_photos(photos, SMALL_SIZE))[0]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folder(tmp_path_factory.mktemp("fit") / "photos", each=40)


@pytest.fixture(scope="module")
def whole(photos: Path) -> Path:
    """Return a registry with the version of an uninterrupted fit."""
    models = photos.parent / "whole"
    done = _train(photos, models)
    assert done.exit_code == 0, done.stderr
    return models


@pytest.mark.slow
def test_an_interrupted_fit_goes_on_to_the_same_result(
    photos: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    process = subprocess.Popen(
        [sys.executable, *_command(photos, models)], stderr=subprocess.PIPE, text=True, process_group=0
    )
    deadline = time.monotonic() + 240
    while not list(models.glob(".runs/*/fit-0/last.ckpt")):
        assert process.poll() is None, "the fit ended before it could be interrupted"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in said
    sentence = said.strip().splitlines()[-1]
    (run,) = re.findall(r"Interrupted.*Run the same command with --resume (\S+) to continue\.$", sentence)
    assert not list(models.glob("[!.]*")), "there is no version before the end of the fit"

    refused = _train(photos, models, "--resume", run, "--backbone", "resnet18")
    assert refused.exit_code == 2
    assert "is of another fit (what differs: backbone, initial weights); resume with" in refused.stderr.splitlines()[-1]
    assert "Traceback" not in refused.stderr

    with monkeypatch.context() as patch:
        patch.setattr(train, "write_version", _interrupt)
        stopped = _train(photos, models, "--resume", run)
    assert stopped.exit_code == 130, "it stopped between the fit and the version"
    assert f"Epoch {EPOCHS} of {EPOCHS}: loss" in stopped.stderr
    resumed = _train(photos, models, "--resume", run)
    assert resumed.exit_code == 0, resumed.stderr
    assert ": loss" not in resumed.stderr, "no epoch is fitted again"
    assert current_version(models) == run
    again = _train(photos, models, "--resume", run)
    assert (again.exit_code, again.stderr) == (
        2,
        f"seefood: The run {run} is complete; its version is {models / run}.\n",
    )
    some = find_photos_to_train(photos).take(range(0, 80, 5))
    np.testing.assert_allclose(_answers(models, some), _answers(whole, some), atol=1e-5)
    tables = [next(registry.glob(".runs/*/fit-0/metrics.csv")).read_text() for registry in (models, whole)]
    assert [len(table.splitlines()) for table in tables] == [1 + EPOCHS] * 2
    one, other = (np.genfromtxt(table.splitlines(), delimiter=",", skip_header=1) for table in tables)
    np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.slow
def test_two_processes_make_one_version_measured_on_all_its_photos(photos: Path, tmp_path: Path) -> None:
    models, script = tmp_path / "models", tmp_path / "keep_checkpoints.py"
    script.write_text(KEEP_CHECKPOINTS)
    done = subprocess.run(
        [sys.executable, *TOGETHER, str(script), *_arguments(photos, models, "--epochs", "1")],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (version,) = models.glob("[!.]*/metrics.json")
    assert version.parent.name == current_version(models)
    assert (version.parent / "report" / "index.html").exists()
    assert done.stdout.count("The new version is") == 1
    with next(models.glob(".runs/*/fit-0/metrics.csv")).open() as file:
        (row,) = csv.DictReader(file)
    found = find_photos_to_train(photos)
    _, validation = split(found, check_photos(found, [], Cache(None)).digests, SEED)
    state = torch.load(next(models.glob(".runs/*/fit-0/best.ckpt")), weights_only=True)["state_dict"]
    network, _ = build_classifier("none", SMALL)
    network.load_state_dict({name.removeprefix("network."): value for name, value in state.items()})
    with torch.inference_mode():
        logits = network.eval().heatmap(torch.from_numpy(read_photos(validation, SMALL_SIZE))).mean((1, 2)).numpy()
    loss = -log_expit(np.where(validation.targets == 1, logits, -logits)).mean()
    assert float(row["val_loss"]) == pytest.approx(loss, rel=0.001), "each photo counts once, in whichever process"


@pytest.mark.slow
def test_two_processes_have_the_result_of_one(photos: Path, tmp_path: Path) -> None:
    """Batch norms are fixed, because each process has statistics of its own part of a batch."""
    script = str(ROOT / "tests" / "fixtures" / "fit_with_fixed_norms.py")
    tables = []
    for name, start in (("one", ()), ("two", TOGETHER)):
        command = [sys.executable, *start, script, str(photos), str(tmp_path / name)]
        subprocess.run(command, check=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True)
        tables.append(np.genfromtxt(tmp_path / name / "metrics.csv", delimiter=",", skip_header=1))
    assert tables[0].shape[0] == 2
    np.testing.assert_allclose(tables[0], tables[1], atol=1e-3)


def test_frozen_stages_stay_as_they_are(photos: Path, tmp_path: Path) -> None:
    found = find_photos_to_train(photos).take(range(0, 80, 5))
    network, absent = build_classifier("none")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    hyperparameters = Hyperparameters(
        epochs=1, batch_size=8, train_size=32, final_size=32, freeze="layer3", ema_epochs=0
    )
    fit(network, absent, found, torch.from_numpy(found.targets)[None], found, tmp_path, hyperparameters, 0)
    changed = {name for name, value in network.state_dict().items() if not torch.equal(before[name], value)}
    assert {name.split(".")[1] for name in changed if name.startswith("features.")} == {"layer4"}


def test_batch_norms_of_pretraining_keep_their_mean_and_variance(photos: Path, tmp_path: Path) -> None:
    found = find_photos_to_train(photos).take(range(0, 80, 5))
    hyperparameters = Hyperparameters(epochs=1, batch_size=8, train_size=32, final_size=32, ema_epochs=0)
    for absent, stays in (([], True), (["layer4.1.conv2.weight"], False)):
        network, _ = build_classifier("none")
        before = network.features.get_submodule("layer4.1.bn2").running_mean.clone()  # type: ignore[operator]
        folder = tmp_path / str(stays)
        fit(network, absent, found, torch.from_numpy(found.targets)[None], found, folder, hyperparameters, 0)
        after = network.features.get_submodule("layer4.1.bn2").running_mean
        assert torch.equal(before, after) is stays  # type: ignore[arg-type]


def test_a_stage_that_is_not_there_is_a_sentence() -> None:
    with pytest.raises(SeeFoodError, match=r"resnet18 can't be frozen at 'layer9'; name one of conv1, .*layer3\.$"):
        build_classifier("none")[0].freeze("layer9")


def test_only_the_same_fit_is_resumed(photos: Path, tmp_path: Path) -> None:
    found = find_photos_to_train(photos).take(range(0, 80, 5))
    targets = torch.from_numpy(found.targets)[None]
    settings = Hyperparameters(epochs=1, batch_size=8, train_size=32, final_size=32, ema_epochs=0)

    def start(validation: Photos, hyperparameters: Hyperparameters, seed: int = 0, head: float = 0.0) -> int:
        torch.manual_seed(seed)
        network, absent = build_classifier("none", SMALL)
        torch.nn.init.constant_(network.head.weight, head)
        return fit(network, absent, found, targets, validation, tmp_path, hyperparameters, 0)

    start(found, settings)
    before = (tmp_path / "last.ckpt").read_bytes()
    other = replace(settings, learning_rate=0.1, freeze="conv1")
    for differing, again in {
        "validation photos": partial(start, found.take(range(8)), settings),
        "initial weights": partial(start, found, settings, seed=1),
        "learning_rate, freeze": partial(start, found, other),
    }.items():
        sentence = rf"last\.ckpt is of another fit \(what differs: {differing}\); resume with the options and photos "
        with pytest.raises(SeeFoodError, match=sentence):
            again()
    start(found, settings, head=1.0)
    assert (tmp_path / "last.ckpt").read_bytes() == before, "the head, which may be a probe, does not matter"


def test_checkpoints_are_written_beside_the_earlier_ones(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The temporary folder may be another disk without room for a checkpoint, as in a container."""
    found = find_photos_to_train(photos).take(range(0, 80, 5))
    network, absent = build_classifier("none", SMALL)
    settings = Hyperparameters(epochs=1, batch_size=8, train_size=32, final_size=32, ema_epochs=0)
    with mounted_or_skipped(tmp_path / "small", "size=64k") as small:
        monkeypatch.setattr(tempfile, "tempdir", str(small))
        fit(network, absent, found, torch.from_numpy(found.targets)[None], found, tmp_path / "fit", settings, 0)
    assert {path.name for path in (tmp_path / "fit").iterdir()} == {"best.ckpt", "last.ckpt", "metrics.csv"}


@pytest.mark.parametrize("part", ["training", "validation"])
def test_a_photo_that_disappears_is_named(part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = find_photos_to_train(draw_folder(tmp_path / "photos", each=8))
    parts = {"training": found.take(range(0, 16, 2)), "validation": found.take(range(1, 16, 2))}
    monkeypatch.setattr(Photos, "digest", lambda _: "")  # it would read the photo before the fit begins
    gone = parts[part].paths[3]
    gone.unlink()
    network, absent = build_classifier("none", SMALL)
    settings = Hyperparameters(epochs=1, batch_size=8, train_size=32, final_size=32, ema_epochs=0)
    targets = torch.from_numpy(parts["training"].targets)[None]
    with pytest.raises(SeeFoodError) as caught:
        fit(network, absent, parts["training"], targets, parts["validation"], tmp_path / "fit", settings, 0)
    assert str(caught.value) == (
        f"The photo {gone} can't be read: No such file or directory; put it back, or start again without it."
    )


def test_a_damaged_checkpoint_is_a_sentence(photos: Path, tmp_path: Path) -> None:
    found, (network, absent) = find_photos_to_train(photos), build_classifier("none")
    (tmp_path / "last.ckpt").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(SeeFoodError, match=r"last\.ckpt is damaged; delete its folder and start again\.$"):
        fit(network, absent, found, torch.from_numpy(found.targets)[None], found, tmp_path, Hyperparameters(), 0)
