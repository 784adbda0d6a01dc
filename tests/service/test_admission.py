"""Photos and body bytes in flight are limited, and every request releases its reservation."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from service.admission import Admission
from service.errors import Overloaded
from service.metrics import registry
from service.settings import Settings
from tests.conftest import MakeApp


def _under_way() -> float:
    return registry.get_sample_value("seefood_photos_in_flight") or 0


def test_a_photo_is_counted_until_its_request_ends() -> None:
    admission = Admission(2, 100)
    before = _under_way()
    with admission.reserved(1, 10), admission.reserved(1, 10):
        assert _under_way() - before == 2
        with pytest.raises(Overloaded), admission.reserved(1, 0):
            pytest.fail("there is no third place")
    assert _under_way() == before
    with admission.reserved(1, 0), admission.reserved(1, 0):
        pass


def test_further_photos_are_reserved_together_or_not_at_all() -> None:
    admission = Admission(4, 100)
    with admission.reserved(1):
        with pytest.raises(Overloaded), admission.reserved(4):
            pytest.fail("only three more are allowed")
        with admission.reserved(3):
            with pytest.raises(Overloaded), admission.reserved(1):
                pytest.fail("a fifth photo is not allowed")
            with admission.reserved(0):
                pass
    with admission.reserved(4):
        pass


def test_a_failed_request_releases_its_reservation() -> None:
    admission = Admission(1, 100)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), admission.reserved(1, 100):
            raise ZeroDivisionError
    with admission.reserved(1, 100):
        pass


def test_body_bytes_are_limited() -> None:
    admission = Admission(10, 100)
    with ExitStack() as stack:
        stack.enter_context(admission.reserved(1, 60))
        with pytest.raises(Overloaded):
            stack.enter_context(admission.reserved(1, 41))
        stack.enter_context(admission.reserved(1, 40))
        stack.enter_context(admission.reserved(1, 0))
    with admission.reserved(1, 100):
        pass


@pytest.mark.parametrize("max_bytes", [20_000_000, 200_000_000])
def test_the_largest_accepted_body_is_admitted(make_app: MakeApp, tiny_models: Path, max_bytes: int) -> None:
    app = make_app(Settings(models=tiny_models, max_bytes=max_bytes))
    largest = app.config["MAX_CONTENT_LENGTH"]
    for content_type in ("image/jpeg", "application/json"):
        with app.test_client() as client:
            headers = {"Content-Length": str(largest), "Content-Type": content_type}
            answer = client.post("/v1/predict", headers=headers)
        assert answer.status_code == 400, "the body is empty, but the request was admitted"
