"""Files are scored in order, in batches, and an unreadable one does not stop the others."""

from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from scoring.score import BATCH_SIZE, score
from service.model import Verdict, open_model
from service.photo import NAMES
from tests.fixtures.drawing import encode


def test_order_is_kept_across_batches_and_bad_files(tiny_models: Path, tmp_path: Path) -> None:
    paths = []
    for number in range(19):
        path = tmp_path / f"{number}.png"
        path.write_bytes(encode(Image.new("RGB", (20, 20), (number * 12, 100, 120)), "PNG"))
        paths.append(path)
    paths[3].write_bytes(b"no photo")
    paths[9].unlink()
    outcomes = dict(score(open_model(tiny_models), paths))
    assert list(outcomes) == paths
    assert outcomes.pop(paths[3]) == f"The bytes are not a photo, or its header is damaged; send {NAMES}."
    assert outcomes.pop(paths[9]) == "The file can't be read: No such file or directory."
    probabilities = [outcome.probability for outcome in outcomes.values() if isinstance(outcome, Verdict)]
    assert len(probabilities) == len(outcomes)
    assert probabilities == sorted(probabilities), "redder photos score higher"


def test_a_batch_of_bad_files_alone(tiny_models: Path, tmp_path: Path) -> None:
    ((_, outcome),) = score(open_model(tiny_models), [tmp_path / "nothing.jpg"])
    assert isinstance(outcome, str)


def test_nothing_to_score(tiny_models: Path) -> None:
    assert list(score(open_model(tiny_models), [])) == []


def test_photos_are_not_read_far_ahead(tiny_models: Path, tmp_path: Path) -> None:
    """Only a few photos are taken before the first outcomes are yielded, however many there are."""
    (tmp_path / "grey.png").write_bytes(encode(Image.new("RGB", (30, 20), (90, 90, 90)), "PNG"))
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        while True:
            taken += 1
            yield tmp_path / "grey.png"

    outcomes = score(open_model(tiny_models), endless(), threads=3)
    for yielded in range(1, 1000):
        next(outcomes)
        assert taken - yielded < 2 * 3 * BATCH_SIZE["cpu"]
    outcomes.close()
