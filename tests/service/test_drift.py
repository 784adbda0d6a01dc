"""Live answers are compared with those that the model's file expects, and with those of the model before it."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from scipy.stats import binomtest, ks_2samp

from service.drift import FIRST, MIN_PHOTOS, VALIDATION, WINDOW, LabelCounts, LiveVerdicts, Probation
from service.metadata import HISTOGRAM_BINS, Metadata
from service.metrics import registry
from service.model import Verdict
from service.model_manager import ModelManager
from service.settings import Settings
from tests.fixtures.command import seefood
from tests.fixtures.load import until
from tests.fixtures.painting import BLUE, PALE, RED
from tests.fixtures.server import Server, serving
from tests.fixtures.tiny_model import METADATA, write_tiny_model, write_tiny_registry

HISTOGRAM = (500, *[0] * 18, 500)
RANDOM = np.random.default_rng(0)
_PATIENCE = 60  # seconds


def _with_histogram(probabilities: "np.typing.NDArray[np.float64]") -> Metadata:
    counts, _ = np.histogram(probabilities, HISTOGRAM_BINS, (0, 1))
    return replace(
        METADATA,
        probability_histogram=tuple(counts.tolist()),
        metrics={"validation": {"unfamiliar": {"value": 0.05}}},
    )


def _answer(live: LiveVerdicts, probabilities: "np.typing.NDArray[np.float64]", unfamiliar: bool | None = None) -> None:
    for probability in probabilities.tolist():
        label = "hotdog" if probability >= 0.5 else "not_hotdog"
        live.add(Verdict(label, probability >= 0.5, probability, 0.25 < probability < 0.75, unfamiliar))


@pytest.mark.parametrize("shape", [(2, 2), (1, 1), (0.3, 0.3), (2, 3)])
def test_the_statistic_is_that_of_scipy(shape: tuple[float, float]) -> None:
    expected, live = RANDOM.beta(2, 2, 1400), RANDOM.beta(*shape, WINDOW)
    answers = LiveVerdicts(_with_histogram(expected))
    _answer(answers, live)
    found = answers.drift()
    assert found
    edges = np.arange(1, HISTOGRAM_BINS + 1) / HISTOGRAM_BINS
    binned = ks_2samp(np.digitize(expected, edges), np.digitize(live, edges))
    assert found.statistic == pytest.approx(binned.statistic)
    assert found.statistic <= ks_2samp(expected, live).statistic, "bins make it smaller"
    assert found.source == VALIDATION
    # At the critical value, the exact probability of chance is near 0.001.
    n, m = 1000, 1400
    assert found.critical == pytest.approx(1.9495 * ((n + m) / (n * m)) ** 0.5, abs=1e-4)


def test_chance_is_no_drift_and_other_photos_are() -> None:
    expected = RANDOM.beta(0.5, 0.5, 1400)
    same, other = LiveVerdicts(_with_histogram(expected)), LiveVerdicts(_with_histogram(expected))
    _answer(same, RANDOM.beta(0.5, 0.5, WINDOW))
    _answer(other, RANDOM.beta(0.7, 0.5, WINDOW))
    for live, drifts in ((same, False), (other, True)):
        found = live.drift()
        assert found
        assert (found.statistic > found.critical) is drifts
        assert ("differ from" in str(found)) is drifts


def test_the_window_slides() -> None:
    live = LiveVerdicts(_with_histogram(RANDOM.beta(5, 1, 1400)))
    _answer(live, RANDOM.beta(1, 5, WINDOW))
    before = live.drift()
    _answer(live, RANDOM.beta(5, 1, WINDOW))
    after = live.drift()
    assert before
    assert after
    assert before.statistic > before.critical
    assert after.statistic < after.critical
    assert live.mix().photos == 2 * WINDOW
    assert live.last_mix().photos == WINDOW


def test_shares_are_compared() -> None:
    live = LiveVerdicts(_with_histogram(np.array([0.3, 0.5, 0.7, 0.9] * 100)))
    _answer(live, np.array([0.5, 0.9] * 100), unfamiliar=False)
    found = live.drift()
    assert found
    assert (found.live.uncertain, found.live.unfamiliar) == (0.5, 0.0)
    assert found.reference.uncertain == pytest.approx(0.75)
    assert found.reference.unfamiliar == 0.05


def test_an_older_file_is_compared_with_its_first_photos() -> None:
    live = LiveVerdicts(METADATA)
    _answer(live, RANDOM.beta(2, 2, WINDOW + MIN_PHOTOS - 1))
    assert live.drift() is None
    _answer(live, RANDOM.beta(2, 2, 1))
    found = live.drift()
    assert found
    assert (found.source, found.reference.photos, found.live.photos) == (FIRST, WINDOW, MIN_PHOTOS)
    assert found.statistic < found.critical


def test_a_probability_that_is_no_number_is_left_out() -> None:
    live = LiveVerdicts(METADATA)
    _answer(live, np.array([np.nan, 1.0, 0.0]))
    assert live.mix() == LabelCounts(2, 1)


@pytest.mark.parametrize(
    "wrong", ["{}", "[1]", "[" + "0, " * 19 + "0]", "[" + "0, " * 19 + "-1]", "[" + "1, " * 19 + "1.5]", "null", "7"]
)
def test_a_wrong_histogram_is_named(wrong: str) -> None:
    with pytest.raises(ValueError, match="the property 'probability_histogram' is not 20 counts: "):
        Metadata.from_properties(METADATA.to_properties() | {"probability_histogram": wrong})


def test_a_histogram_round_trips() -> None:
    metadata = replace(METADATA, probability_histogram=HISTOGRAM)
    assert Metadata.from_properties(metadata.to_properties()) == metadata


@pytest.mark.parametrize(
    ("mix", "other", "differs"),
    [
        ((200, 0), (1000, 0), False),
        ((200, 3), (1000, 0), False),
        ((200, 20), (1000, 0), True),
        ((200, 200), (1000, 1000), False),
        ((200, 180), (1000, 1000), True),
        ((200, 100), (1000, 450), False),
        ((200, 100), (1000, 300), True),
        ((200, 30), (1000, 300), True),
    ],
)
def test_mixes_differ_beyond_chance(mix: tuple[int, int], other: tuple[int, int], differs: bool) -> None:
    assert LabelCounts(*mix).differs_from(LabelCounts(*other)) is differs
    assert LabelCounts(*other).differs_from(LabelCounts(*mix)) is differs


def test_the_interval_is_wilsons() -> None:
    """A share that differs from a share of a very large number of photos is outside its own Wilson interval."""
    for positive in (0, 1, 40, 199, 200):
        interval = binomtest(positive, 200).proportion_ci(0.999, "wilson")
        for bound, outwards in ((interval.low, -1), (interval.high, 1)):
            for shift in (-0.002, 0.002):
                share = bound + outwards * shift
                if 0 <= share <= 1:
                    known = LabelCounts(10**9, round(10**9 * share))
                    assert LabelCounts(200, positive).differs_from(known) is (shift > 0)


def test_chance_seldom_ends_a_probation() -> None:
    """With six looks at a level of 0.001, about one in 170 models would fail by chance."""
    failed = 0
    for _ in range(300):
        probation = Probation(LabelCounts(WINDOW, int(RANDOM.binomial(WINDOW, 0.2))))
        positives = np.cumsum(RANDOM.random(6400) < 0.2)
        failed += any(probation.fails(LabelCounts(count, int(positives[count - 1]))) for count in range(100, 6401, 100))
    assert failed < 10


def _metrics(server: Server, *parts: str) -> dict[str, float]:
    text = server.request("GET", "/metrics").body.decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {
        " ".join([one.name, *one.labels.values()]): one.value
        for one in samples
        if any(part in one.name for part in parts)
    }


def _send(server: Server, *photos: bytes) -> None:
    for first in range(0, len(photos), 16):
        assert server.post_photos(*photos[first : first + 16]).status == 200


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Return a registry with `tiny`, which expects half of the photos to be hotdogs, and `new`, which finds few."""
    models = write_tiny_registry(tmp_path / "models")
    for version, threshold in (("tiny", 0.5), ("new", 0.9)):
        metadata = replace(METADATA, version=version, threshold=threshold, probability_histogram=HISTOGRAM)
        write_tiny_model(models / version / "model.int8.onnx", metadata.to_properties())
    (models / "new" / "metrics.json").write_bytes((models / "tiny" / "metrics.json").read_bytes())
    return models


KEY = "a-review-key-of-many-characters"


@pytest.mark.slow
def test_drift_is_exported_and_shown_to_reviewers(models: Path, tmp_path: Path) -> None:
    settings = {"SEEFOOD_FEEDBACK_DIR": str(tmp_path / "inbox"), "SEEFOOD_REVIEW_KEY": KEY}

    def line() -> str | None:
        answer = server.request("GET", "/review/photos", Authorization=f"Bearer {KEY}")
        shown: str | None = answer.json()["drift"]
        return shown

    with serving(models, **settings) as server:
        assert server.request("GET", "/v1/model").json()["probability_histogram"] == list(HISTOGRAM)
        assert np.isnan(_metrics(server, "drift")["seefood_drift_statistic"])
        assert line() is None
        _send(server, *[RED, BLUE] * (MIN_PHOTOS // 2))
        found = _metrics(server, "drift")
        assert found["seefood_drift_statistic"] == 0
        assert found["seefood_drift_reference_info validation photos"] == 1
        shown = line()
        assert shown
        assert shown.startswith("The probabilities of the last 200 photos are like those of the validation photos")
        _send(server, *[PALE] * MIN_PHOTOS)
        found = _metrics(server, "drift")
        assert found["seefood_drift_statistic"] > found["seefood_drift_critical"]
        assert found["seefood_drift_share uncertain live"] == 0.5
        assert found["seefood_drift_share uncertain reference"] == 0
        assert np.isnan(found["seefood_drift_share unfamiliar reference"])
        assert "differ from" in (line() or "")


@pytest.mark.slow
def test_a_promotion_with_another_mix_is_undone(models: Path) -> None:
    """`new` calls pale photos no hotdogs, as `tiny` does not."""

    def serves(version: str) -> Callable[[], bool]:
        return lambda: server.version() == version

    with serving(models, SEEFOOD_ROLLBACK_MINUTES="60") as server:
        _send(server, *[PALE, PALE, BLUE] * (MIN_PHOTOS // 3 + 1))
        assert seefood(models, "models", "promote", "new", "--force").exit_code == 0
        until(serves("new"))
        _send(server, *[PALE, PALE, BLUE] * (MIN_PHOTOS // 3))
        assert serves("new")()
        _send(server, PALE, BLUE)
        until(serves("tiny"))
        assert _metrics(server, "rollbacks") == {"seefood_model_rollbacks_total": 1}
        (line,) = [line for line in server.log().splitlines() if "serving tiny again" in line]
        assert json.loads(line)["level"] == "ERROR"
        assert "new gave the label hotdog to 0.0% of 200 photos, but 66.7% of 201 photos" in line
        assert (models / "current").read_text() == "new\n", "the registry is left as it is"
        _send(server, *[PALE] * 10)
        assert serves("tiny")(), "the refused version is not taken again"
        # A rollback, and a promotion of a version that was served before, are never undone.
        assert seefood(models, "models", "promote", "tiny", "--force").exit_code == 0
        time.sleep(2)  # nothing shows that the service has read the pointer
        assert seefood(models, "models", "promote", "new", "--force").exit_code == 0
        until(serves("new"))
        _send(server, *[PALE] * MIN_PHOTOS)
        assert _metrics(server, "rollbacks") == {"seefood_model_rollbacks_total": 1}
        assert serves("new")()


@pytest.mark.slow
def test_an_automatic_rollback_ends_with_its_process(models: Path) -> None:
    """The registry still names the refused version, so a process that starts serves it until a person rolls back."""

    def serves(version: str) -> Callable[[], bool]:
        return lambda: server.version() == version

    assert seefood(models, "models", "promote", "tiny", "--force").exit_code == 0, "a rollback needs the history"
    with serving(models, SEEFOOD_ROLLBACK_MINUTES="60") as server:
        _send(server, *[PALE] * MIN_PHOTOS)
        assert seefood(models, "models", "promote", "new", "--force").exit_code == 0
        until(serves("new"), _PATIENCE)
        _send(server, *[PALE] * MIN_PHOTOS)
        until(serves("tiny"), _PATIENCE)
        server.replace_worker()
        assert serves("new")()
        assert seefood(models, "models", "rollback").output == "tiny is current again.\n"
        until(serves("tiny"), _PATIENCE)
        server.replace_worker()
        assert serves("tiny")()


def _promote(models: Path, *before: str) -> None:
    entries = [{"version": version, "action": "promote"} for version in (*before, "new")]
    (models / "history.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    (models / "current").write_text("new\n")


@pytest.mark.parametrize(
    ("minutes", "photos", "before", "undone"),
    [
        (60, MIN_PHOTOS, ("tiny",), True),
        (0, MIN_PHOTOS, ("tiny",), False),
        (60, MIN_PHOTOS - 1, ("tiny",), False),
        (60, MIN_PHOTOS, ("new", "tiny"), False),
    ],
)
def test_a_promotion_is_undone_only_if_all_is_known(
    models: Path, minutes: int, photos: int, before: tuple[str, ...], undone: bool
) -> None:
    manager = ModelManager(Settings(models=models, rollback_minutes=minutes))
    undone_before = registry.get_sample_value("seefood_model_rollbacks_total") or 0
    _answer(manager.current.live, np.full(photos, 0.9))
    _promote(models, *before)
    manager.refresh()
    _answer(manager.current.live, np.zeros(MIN_PHOTOS))
    manager.refresh()
    manager.refresh()
    assert manager.current.model.metadata.version == ("tiny" if undone else "new")
    assert (registry.get_sample_value("seefood_model_rollbacks_total") or 0) - undone_before == undone
    if undone:
        for version in ("tiny", "new"):
            (models / "current").write_text(f"{version}\n")
            manager.refresh()
        assert manager.current.model.metadata.version == "new", "the pointer has changed"


def test_the_trial_ends(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = ModelManager(Settings(models=models, rollback_minutes=1))
    _answer(manager.current.live, np.full(MIN_PHOTOS, 0.9))
    _promote(models, "tiny")
    manager.refresh()
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 61)
    manager.refresh()
    _answer(manager.current.live, np.zeros(MIN_PHOTOS))
    manager.refresh()
    assert manager.current.model.metadata.version == "new"
