"""Synthetic pictures are deterministic and distinct, and can be evaluated."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from service.model import open_model
from service.photo import read_photo
from training.evaluation import synthetic as pictures
from training.evaluation.evaluate import evaluate
from training.evaluation.synthetic import EACH, draw_synthetic


@pytest.fixture(scope="module", autouse=True)
def _all_pictures() -> Iterator[None]:
    """Draw as many pictures as a training run does; other tests draw fewer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "EACH", EACH)
        yield


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made up") / "not_hotdog"
    draw_synthetic(folder)
    return folder


def test_each_kind_has_its_number_and_all_differ(synthetic: Path) -> None:
    names = [path.name for path in sorted(synthetic.iterdir())]
    assert names == [f"{kind}-{i:02}.png" for kind in ("drawing", "noise", "screenshot") for i in range(EACH)]
    assert len({path.read_bytes() for path in synthetic.iterdir()}) == 3 * EACH


def test_they_are_drawn_the_same_again(synthetic: Path, tmp_path: Path) -> None:
    draw_synthetic(tmp_path / "again")
    assert len(list((tmp_path / "again").iterdir())) == 3 * EACH
    for path in synthetic.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_the_kinds_are_what_they_are_called(synthetic: Path) -> None:
    colours: dict[str, list[int]] = {}
    for path in synthetic.iterdir():
        red, green, blue = np.moveaxis(read_photo(path.read_bytes(), 400).astype(np.uint32), -1, 0)
        colours.setdefault(path.name.partition("-")[0], []).append(len(np.unique(red << 16 | green << 8 | blue)))
    assert min(colours["noise"]) > 10 * max(colours["screenshot"] + colours["drawing"]), (
        "noise has no areas of one colour"
    )


def test_a_model_is_asked_about_them_as_about_photos(synthetic: Path, tiny_models: Path) -> None:
    evaluation = evaluate(open_model(tiny_models), synthetic.parent)
    assert evaluation.photos == (0, 3 * EACH)
    assert not evaluation.unreadable
    assert {part.name: part.photos for part in evaluation.slices} == dict.fromkeys(
        ("noise", "screenshot", "drawing"), (0, EACH)
    )
    for part in evaluation.slices:
        assert {"false_positive_rate", "unfamiliar"} <= set(part.metrics)
