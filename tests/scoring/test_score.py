"""Files are scored in order, in batches, and a bad one does not stop the others."""

from pathlib import Path

from PIL import Image

from scoring.score import score
from service.model import Verdict, open_model
from tests.fixtures.drawing import encode


def test_order_is_kept_across_batches_and_bad_files(tiny_models: Path, tmp_path: Path) -> None:
    paths = []
    for number in range(19):
        path = tmp_path / f"{number}.png"
        path.write_bytes(encode(Image.new("RGB", (20, 20), (number * 12, 100, 120)), "PNG"))
        paths.append(path)
    paths[3].write_bytes(b"no photo")
    paths[9].unlink()
    answers = dict(score(open_model(tiny_models), paths))
    assert list(answers) == paths
    assert answers.pop(paths[3]) == "The bytes are not a photo, or the photo's header is damaged."
    assert answers.pop(paths[9]) == "The file can't be read: No such file or directory."
    probabilities = [answer.probability for answer in answers.values() if isinstance(answer, Verdict)]
    assert len(probabilities) == len(answers)
    assert probabilities == sorted(probabilities), "redder photos score higher"


def test_a_batch_of_bad_files_alone(tiny_models: Path, tmp_path: Path) -> None:
    ((_, answer),) = score(open_model(tiny_models), [tmp_path / "nothing.jpg"])
    assert isinstance(answer, str)


def test_nothing_to_score(tiny_models: Path) -> None:
    assert list(score(open_model(tiny_models), [])) == []
