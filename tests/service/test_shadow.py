"""A candidate also answers live photos, after the served model.

It delays no answer, and its record survives a restart.
"""

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service import shadow_record
from service.errors import SeeFoodError
from service.inbox import review
from service.inbox.records import Sender
from service.inbox.review import Filter
from service.metrics import registry
from service.model_manager import ServedModel
from service.self_test import digest, reference_square
from service.settings import Settings
from service.shadow import Answered, Shadow
from service.shadow_record import Comparison, Pair
from tests.conftest import MakeApp
from tests.fixtures.command import seefood
from tests.fixtures.inbox import make_inbox
from tests.fixtures.load import asking, until
from tests.fixtures.painting import PALE, RED, YELLOW
from tests.fixtures.server import Server, serving
from tests.fixtures.tiny_model import METADATA, write_slow_model, write_tiny_model, write_tiny_registry

NEW = replace(METADATA, version="new", threshold=0.9)  # of PALE, the probability is 0.68
PAIR = Pair("new", "tiny")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Return a registry with `tiny`, which is current, and `new`, which needs more certainty to say hotdog."""
    models = write_tiny_registry(tmp_path / "models")
    write_tiny_model(models / "new" / "model.int8.onnx", NEW.to_properties())
    shutil.copy(models / "tiny" / "metrics.json", models / "new")
    return models


def _metrics(server: Server) -> dict[str, float]:
    """Return the values of the metrics of the shadow, by name and the value of their label."""
    text = server.request("GET", "/metrics").body.decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {f"{one.name} {''.join(one.labels.values())}".strip(): one.value for one in samples if "shadow" in one.name}


def _compared(server: Server) -> int:
    return int(_metrics(server)["seefood_shadow_seconds_count"])


def _has_compared(server: Server, photos: int) -> Callable[[], bool]:
    return lambda: _compared(server) == photos


def _has_candidate(server: Server, version: str = "new") -> Callable[[], bool]:
    return lambda: f"seefood_shadow_info {version}" in _metrics(server)


def _send(server: Server, *photos: bytes) -> None:
    for photo in photos:
        assert server.request("POST", "/v1/predict", photo, "image/jpeg").status == 200


@pytest.mark.slow
def test_a_candidate_is_compared_and_promoted_and_takes_over(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "inbox"
    with serving(models, SEEFOOD_SHADOW_SHARE="1", SEEFOOD_FEEDBACK_DIR=str(folder)) as server:
        assert server.request("GET", "/v1/model").json()["collects"] is False
        assert seefood(models, "models", "shadow", "new").output == (
            "new is the shadow of tiny: they agreed on 0 of 0 photos.\n"
        )
        until(_has_candidate(server))
        assert server.request("GET", "/v1/model").json()["collects"] is True
        assert "shadow" in seefood(models, "models").output
        for number, photo in enumerate((RED, RED, RED, PALE), 1):
            _send(server, photo)
            until(_has_compared(server, number))
        found = _metrics(server)
        assert found["seefood_shadow_photos_total agreed"] == 3
        assert found["seefood_shadow_photos_total candidate negative"] == 1
        assert found["seefood_shadow_photos_total candidate positive"] == 0
        assert found["seefood_shadow_difference_sum"] == pytest.approx(0, abs=1e-6), "the same network"
        until(lambda: shadow_record.read(models, PAIR) == (4, 3))

        inbox = make_inbox(folder)
        until(lambda: review.photos(inbox, Filter(reason="shadow"), "waiting", 9))
        (shadowed,) = review.photos(inbox, Filter(), "waiting", 9)
        assert (shadowed["model"]["version"], shadowed["model"]["label"], shadowed["votes"]) == ("tiny", "hotdog", [])

        os.kill(server.workers()[0], signal.SIGKILL)
        until(lambda: "seefood_shadow_info new" in (_metrics(server) if server.answers() else {}))
        _send(server, RED)
        until(lambda: shadow_record.read(models, PAIR) == (5, 4))
        with asking(server.port, RED, clients=2) as load:
            refused = seefood(models, "models", "promote", "new", "--shadow-agreement", 0.98, "--min-photos", 5)
            assert refused.exit_code == 2
            until(lambda: shadow_record.read(models, PAIR).photos >= 20)
            done = seefood(models, "models", "promote", "shadow", "--shadow-agreement", 0.9, "--min-photos", 20)
            assert done.exit_code == 0, done.output
            until(lambda: "new" in load.versions)
            until(lambda: not _has_candidate(server)())
        assert set(load.statuses) == {200}, str(load)
        assert load.failures == []
        assert seefood(models, "models", "shadow", "--off").output == "No version is the shadow.\n"
        assert not (models / "shadow").exists()
    last = json.loads((models / "history.jsonl").read_text().splitlines()[-1])
    assert last["why"].startswith("the shadow new agreed with tiny on ")


@pytest.mark.slow
def test_answers_are_sent_while_the_candidate_is_blocked(models: Path) -> None:
    write_slow_model(models / "new" / "model.int8.onnx", NEW.to_properties(), rounds=10**8)
    with serving(models, SEEFOOD_SHADOW="new", SEEFOOD_SHADOW_SHARE="1") as server:
        until(_has_candidate(server))
        _send(server, RED)
        until(lambda: _compared(server) == 1)
        _send(server, YELLOW)
        _send(server, *[RED] * 20)
        found = _metrics(server)
        assert found["seefood_shadow_seconds_count"] == 1, "the candidate is still busy with the yellow photo"
        assert found["seefood_shadow_dropped_total"] >= 11, "eight photos wait, and one is with the candidate"
        assert server.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize("wrong", ["corrupt", "absent", "labels", "self-test"])
def test_a_bad_candidate_leaves_serving_alone(models: Path, wrong: str) -> None:
    path = models / "new" / "model.int8.onnx"
    if wrong == "corrupt":
        path.write_bytes(b"no model")
    elif wrong == "absent":
        path.unlink()
    elif wrong == "labels":
        write_tiny_model(path, replace(NEW, positive_label="cat").to_properties())
    else:
        stored = replace(NEW, reference_digest=digest(reference_square(64)), reference_probability=0.9)
        write_tiny_model(path, stored.to_properties())
    with serving(models, SEEFOOD_SHADOW="new", SEEFOOD_SHADOW_SHARE="1") as server:
        until(lambda: _metrics(server)["seefood_shadow_refused_total"] == 1)
        _send(server, RED, PALE)
        time.sleep(1.5)  # it is looked for twice a second
        assert _metrics(server)["seefood_shadow_refused_total"] == 1
        assert _compared(server) == 0
        (line,) = [line for line in server.log().splitlines() if "there is no shadow new: " in line]
        assert json.loads(line)["level"] == "ERROR"


@pytest.mark.slow
def test_a_record_that_can_not_be_written_is_named_once(models: Path) -> None:
    record = models / shadow_record.FILE
    record.mkdir()
    with serving(models, SEEFOOD_SHADOW="new", SEEFOOD_SHADOW_SHARE="1") as server:
        until(_has_candidate(server))
        _send(server, RED)
        until(lambda: "can't be written to" in server.log())
        _send(server, RED)
        until(lambda: _compared(server) == 2)
        record.rmdir()
        until(lambda: record.is_file() and shadow_record.read(models, PAIR) == (2, 2))
        assert server.log().count("can't be written to") == 1


@pytest.fixture
def shadow(models: Path, make_app: MakeApp) -> Shadow:
    """Return a shadow whose thread does not run."""
    made: Shadow = make_app(Settings(models=models, shadow="new", shadow_share=1)).extensions["shadow"]
    made.refresh()
    return made


def _value(name: str) -> float:
    return registry.get_sample_value(name) or 0


def _answered(served: ServedModel) -> Answered:
    pixels = np.full((64, 64, 3), (255, 255, 0), np.uint8)
    verdict = served.model.verdict(1.0, 0.0)
    return Answered(served, pixels, verdict, Sender(None, "192.0.2.1"), None)


def test_a_photo_is_dropped_while_the_served_model_is_busy(models: Path, make_app: MakeApp) -> None:
    write_slow_model(models / "tiny" / "model.int8.onnx", METADATA.to_properties(), rounds=2 * 10**5)
    app = make_app(Settings(models=models, shadow="new", shadow_share=1))
    shadow, served = app.extensions["shadow"], app.extensions["model_manager"].current
    shadow.refresh()
    answered, dropped = _answered(served), _value("seefood_shadow_dropped_total")
    compared = _value("seefood_shadow_seconds_count")
    until_then = time.monotonic() + 60
    threads = [threading.Thread(target=served.inference.predict, args=(answered.pixels, until_then)) for _ in range(64)]
    assert not served.inference.is_saturated
    for thread in threads:
        thread.start()
        if served.inference.is_saturated:
            break
    shadow.compare(answered)
    for thread in threads:
        if thread.ident:
            thread.join()
    assert _value("seefood_shadow_dropped_total") == dropped + 1
    assert _value("seefood_shadow_seconds_count") == compared
    shadow.compare(answered)
    assert _value("seefood_shadow_seconds_count") == compared + 1


def test_the_setting_wins_over_the_pointer(models: Path, shadow: Shadow) -> None:
    (models / "shadow").write_text("tiny\n")
    shadow.refresh()
    assert shadow.candidate
    assert shadow.candidate.metadata.version == "new"


def test_the_served_version_is_no_candidate(models: Path, make_app: MakeApp) -> None:
    (models / "shadow").write_text("tiny\n")
    shadow: Shadow = make_app(Settings(models=models)).extensions["shadow"]
    shadow.refresh()
    assert shadow.candidate is None
    (models / "shadow").write_text("new\n")
    shadow.refresh()
    assert shadow.candidate
    (models / "shadow").unlink()
    shadow.refresh()
    assert shadow.candidate is None


def test_a_renamed_version_is_recorded_under_the_name_of_its_folder(models: Path, make_app: MakeApp) -> None:
    (models / "new").rename(models / "best")
    app = make_app(Settings(models=models, shadow="best"))
    shadow, served = app.extensions["shadow"], app.extensions["model_manager"].current
    shadow.refresh()
    shadow.compare(_answered(served))
    shadow.record()
    assert shadow_record.read(models, Pair("best", "tiny")).photos == 1


def test_several_services_add_to_one_record(models: Path) -> None:
    def add() -> None:
        for _ in range(20):
            shadow_record.add(models, {PAIR: Comparison(3, 2)})

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shadow_record.read(models, PAIR) == (240, 160)
    assert shadow_record.read(models, Pair("tiny", "new")) == (0, 0), "only exactly this pair"


def test_a_damaged_record_is_one_sentence(models: Path) -> None:
    (models / shadow_record.FILE).write_bytes(b"no database" * 100)
    with pytest.raises(SeeFoodError, match=r"shadow\.sqlite can't be read: file is not a database; remove it"):
        shadow_record.read(models, PAIR)


@pytest.mark.parametrize(
    ("recorded", "arguments", "sentence"),
    [
        (None, (0.98,), "on 0 of 0 live photos, but 500 photos and an agreement of 0.98 are needed"),
        ((499, 499), (0.98,), "on 499 of 499 live photos (1.0000), but 500 photos and"),
        ((600, 587), (0.98,), "on 587 of 600 live photos (0.9783), but 500 photos and an agreement of 0.98 are"),
        ((600, 588), (0.98,), None),
        ((600, 588), (0.98, "--min-photos", 601), "on 588 of 600 live photos (0.9800), but 601 photos"),
        ((7, 7), (1, "--min-photos", 7), None),
    ],
)
def test_the_gate_names_the_figures(
    models: Path, recorded: tuple[int, int] | None, arguments: tuple[object, ...], sentence: str | None
) -> None:
    if recorded:
        shadow_record.add(models, {PAIR: Comparison(*recorded), Pair("new", "other"): Comparison(10**6, 10**6)})
    command = ("models", "promote", "new", "--shadow-agreement", *arguments)
    done = seefood(models, *command)
    if sentence is None:
        assert done.exit_code == 0, done.output
        assert (models / "current").read_text() == "new\n"
        return
    assert done.exit_code == 2
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert (models / "current").read_text() == "tiny\n"
    assert "forced: the shadow new" in seefood(models, *command, "--force").output


def test_wrong_options_are_one_sentence(models: Path) -> None:
    for arguments, sentence in {
        ("promote", "new", "--min-photos", "5"): "--min-photos counts the photos of --shadow-agreement",
        ("shadow", "gone"): "There is no version gone in ",
        ("shadow", "new", "--off"): "VERSION and --off can't be combined; give one of them.",
        ("shadow",): "names no shadow model; name one with seefood models shadow VERSION.",
    }.items():
        done = seefood(models, "models", *arguments)
        assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
        assert sentence in done.stderr
