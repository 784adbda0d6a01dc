"""The whole loop in real processes and a real browser: correct, review, retrain, shadow, promote, roll back."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from service import shadow_record
from service.inbox import review
from service.inbox.records import SHADOW, WAITING
from service.inbox.review import Filter
from service.registry import current_version
from service.shadow_record import Pair
from tests.fixtures.browser import open_browser
from tests.fixtures.command import seefood
from tests.fixtures.drawing import draw, draw_folder, encode
from tests.fixtures.inbox import make_inbox
from tests.fixtures.load import asking, until
from tests.fixtures.page import open_page, reload
from tests.fixtures.review_page import KEY, open_review
from tests.fixtures.server import Server, serving
from tests.fixtures.small_backbone import SMALL, write_weights
from training.evaluation import metrics

CORRECTIONS = 16
COMPARED, AGREEMENT = 60, 0.9
_PATIENCE = 180  # seconds


@pytest.mark.slow
@pytest.mark.timeout(1800)  # trains twice
def test_a_wrong_answer_becomes_the_next_version(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models, inbox = tmp_path / "models", tmp_path / "inbox"
    test = draw_folder(tmp_path / "test", each=30, first=1000)
    network = ("--backbone", SMALL, "--weights", write_weights(tmp_path / "weights.pth"), "--epochs", 0)
    ordinary, wrong = encode(draw("hotdog", 5000, (400, 300))), tmp_path / "wrong.jpg"
    wrong.write_bytes(_toy(5000))

    # The first version is trained in this process, with few resamples, because only its answers matter here.
    monkeypatch.setattr(metrics, "_RESAMPLES", 100)
    assert seefood(models, "train", drawn, *network).exit_code == 0
    first = current_version(models)
    settings = {"SEEFOOD_FEEDBACK_DIR": inbox, "SEEFOOD_REVIEW_KEY": KEY, "SEEFOOD_SHADOW_SHARE": 1}
    with (
        serving(models, **{name: str(value) for name, value in settings.items()}) as server,
        open_browser() as browser,
        open_page(browser, server.port) as page,
    ):
        # A blue toy is no hotdog. People correct the model: one on the page, others by the API.
        _ask(page, wrong, "Hotdog")
        page.get_by_role("button", name="Wrong?").click()
        page.get_by_role("button", name="Send as “Not hotdog”").click()
        expect(page.locator("#feedback-text")).to_contain_text("stored as “Not hotdog”")
        for seed in range(5001, 5000 + CORRECTIONS):
            assert server.request("POST", "/v1/feedback?label=not_hotdog", _toy(seed), "image/jpeg").status == 201

        # A reviewer accepts each of them with a key.
        with open_review(browser, server) as reviewer:
            for reviewed in range(1, CORRECTIONS + 1):
                expect(reviewer.locator("#photo")).to_be_visible()
                reviewer.keyboard.press("n")
                expect(reviewer.locator("#progress-text")).to_have_text(f"{reviewed} of {CORRECTIONS} reviewed")

        # They are trained on. The candidate is not served.
        wanted = ("--when", f"accepted={CORRECTIONS}", "--inbox", inbox, "--test", test)
        candidate, *said = _command(models, "retrain", drawn, *wanted, *network).split(" ")
        assert " ".join(said).startswith("is not worse: ")
        assert current_version(models) == first
        assert _serves(server, first)()

        with asking(server.port, ordinary, clients=1) as load:
            # The candidate also answers live photos. A photo about which the two versions disagree waits for the
            # reviewer.
            _command(models, "models", "shadow", candidate)
            until(lambda: _is_disputed(server, _toy(6000), inbox), _PATIENCE)
            _ask(page, wrong, "Hotdog")

            # It is promoted by this comparison, takes over, and gets the photo right.
            until(lambda: _agree(models, candidate, first), _PATIENCE)
            gate = ("--shadow-agreement", AGREEMENT, "--min-photos", COMPARED)
            assert f"{candidate} is current" in _command(models, "models", "promote", candidate, *gate)
            until(lambda: candidate in load.versions, _PATIENCE)
            _ask(page, wrong, "Not hotdog")

            # It is rolled back, and the old answer is back.
            assert _command(models, "models", "rollback") == f"{first} is current again.\n"
            until(_serves(server, first), _PATIENCE)
            _ask(page, wrong, "Hotdog")
        assert set(load.statuses) == {200}, str(load)
        assert load.failures == []

        server.replace_worker()
        assert _serves(server, first)(), "a process that starts serves what the registry names"
        _ask(page, wrong, "Hotdog")


def _toy(seed: int) -> bytes:
    """Draw a toy: a hotdog with red and blue exchanged."""
    return encode(Image.merge("RGB", draw("hotdog", seed, (400, 300)).split()[::-1]))


def _command(models: Path, *arguments: object) -> str:
    """Run the command in a process of its own, and return what it prints."""
    command = [sys.executable, "-m", "service.cli", *map(str, arguments)]
    environment = os.environ | {"SEEFOOD_MODELS": str(models)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _ask(page: Page, photo: Path, words: str) -> None:
    """Give the page a photo, and wait for the words of the verdict."""
    reload(page)  # so that no earlier verdict is shown
    page.set_input_files("#photo", photo)
    expect(page.locator("#verdict")).to_have_text(words)


def _serves(server: Server, version: str) -> Callable[[], bool]:
    return lambda: server.version() == version


def _agree(models: Path, candidate: str, served: str) -> bool:
    photos, agreed = shadow_record.read(models, Pair(candidate, served))
    return photos >= COMPARED and agreed >= AGREEMENT * photos


def _is_disputed(server: Server, photo: bytes, inbox: Path) -> bool:
    """Send a photo, which the shadow may leave out; return whether the inbox has one that the versions dispute."""
    assert server.request("POST", "/v1/predict", photo, "image/jpeg").status == 200
    return bool(review.photos(make_inbox(inbox), Filter(reason=SHADOW), WAITING, 1))
