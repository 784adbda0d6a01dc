"""Files of results: one row a photo in every format, and a run that goes on where another ended."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from moto.server import ThreadedMotoServer
from PIL import Image

from scoring import sources
from scoring.bulk import predict_into
from scoring.results import open_results
from scoring.score import BATCH_SIZE, Answer, score
from scoring.sources import Address
from service.cli import main
from service.model import open_model
from service.photo import find_photos
from tests.conftest import ROOT
from tests.fixtures.drawing import draw, encode
from tests.fixtures.server import free_port
from tests.fixtures.tiny_model import METADATA, write_old_model, write_tiny_model

SUMMARY = "seefood: 3 hotdog, 1 not_hotdog (1 uncertain, 1 unfamiliar), 1 unreadable;"
NOT_OURS = "seefood: {} is not a file that this version of seefood predict wrote; name another.\n"


def predict(models: Path, *arguments: str | Path) -> Result:
    environment = {"SEEFOOD_MODELS": str(models)}
    return CliRunner().invoke(main, ["predict", *map(str, arguments)], env=environment, catch_exceptions=False)


def score_here(folder: Path, models: Path, out: Path) -> list[dict[str, Any]]:
    """Return the rows that this machine alone writes of a folder."""
    predict(models, folder, "--out", out)
    return [json.loads(line) for line in out.read_text().splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with photos of four colours, one of them deeper, one that can't be read, and other files."""
    folder = tmp_path / "photos"
    (folder / "deeper").mkdir(parents=True)
    colours = {"blue": (0, 0, 255), "grey": (90, 90, 90), "deeper/red": (255, 0, 0), "yellow": (255, 255, 0)}
    for name, colour in colours.items():
        (folder / f"{name}.png").write_bytes(encode(Image.new("RGB", (30, 20), colour), "PNG"))
    (folder / "broken.jpg").write_bytes(b"nothing to see")
    (folder / "notes.txt").write_text("no photo")
    (folder / ".hidden.png").write_bytes(b"")
    return folder


def _expected(folder: Path) -> list[dict[str, Any]]:
    verdicts = {
        f"{folder}/blue.png": ("not_hotdog", 0.0, False, False, None),
        f"{folder}/broken.jpg": (
            None,
            None,
            None,
            None,
            "The bytes are not a photo, or the photo's header is damaged.",
        ),
        f"{folder}/deeper/red.png": ("hotdog", 1.0, False, False, None),
        f"{folder}/grey.png": ("hotdog", 0.5, True, False, None),
        f"{folder}/yellow.png": ("hotdog", 1.0, False, True, None),
    }
    return [
        {
            "file": file,
            "label": label,
            "probability": probability,
            "uncertain": doubt,
            "unfamiliar": strange,
            "model_version": "tiny",
            "error": error,
        }
        for file, (label, probability, doubt, strange, error) in verdicts.items()
    ]


def _read(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file by name, read with what anybody would read it with."""
    if path.suffix == ".parquet":
        rows = pq.read_table(path).to_pylist()
    elif path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
    else:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [
                {name: cell or None for name, cell in cells.items()}
                | {name: json.loads(cells[name] or "null") for name in ("probability", "uncertain", "unfamiliar")}
                for cells in csv.DictReader(file)
            ]
    return sorted(rows, key=lambda row: str(row["file"]))


@pytest.fixture(params=["csv", "jsonl", "parquet"])
def out(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"out.{request.param}"


def test_every_photo_has_a_row(tiny_models: Path, folder: Path, out: Path) -> None:
    result = predict(tiny_models, folder, "--out", out)
    assert _read(out) == _expected(folder)
    assert (result.exit_code, result.stdout) == (2, ""), "one can't be read"
    assert result.stderr == f"{SUMMARY} written to {out}.\n"
    assert [path.name for path in out.parent.iterdir() if path != folder] == [out.name]


def test_what_has_a_row_is_not_read_again(tiny_models: Path, folder: Path, out: Path) -> None:
    first = predict(tiny_models, folder / "deeper", "--out", out)
    assert first.exit_code == 0
    (folder / "deeper" / "red.png").write_bytes(b"")  # which would be seen if it were
    for _ in range(2):
        again = predict(tiny_models, folder, "--out", out)
        assert again.stderr.startswith(SUMMARY)
        assert _read(out) == _expected(folder)


def test_a_photo_named_twice_has_one_row(tiny_models: Path, folder: Path, out: Path) -> None:
    red = folder / "deeper" / "red.png"
    predict(tiny_models, folder, red, folder / "deeper", folder, red, "--out", out)
    assert _read(out) == _expected(folder)


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_any_part_of_a_file_is_completed(ending: str, tiny_models: Path, folder: Path, tmp_path: Path) -> None:
    """Wherever a run was killed, byte by byte, the next one ends with each photo once."""
    strange = '\n"quoted", it\'s \r\udcff.png'
    (folder / "grey.png").rename(folder / strange)
    predict(tiny_models, folder, "--out", tmp_path / f"whole.{ending}")
    whole = (tmp_path / f"whole.{ending}").read_bytes()
    rows = _read(tmp_path / f"whole.{ending}")
    assert len(rows) == 5
    part = tmp_path / f"part.{ending}"
    model = open_model(tiny_models)
    answers: dict[Address, Answer] = dict(score(model, find_photos(folder)))
    for length in range(len(whole) + 1):
        part.write_bytes(whole[:length])
        predict_into(part, model, [folder], lambda photos: ((photo, answers[photo]) for photo in photos))
        assert _read(part) == rows, length


def test_a_run_that_was_killed_leaves_parquet_to_be_finished(tiny_models: Path, folder: Path, tmp_path: Path) -> None:
    predict(tiny_models, folder, "--out", tmp_path / "other.jsonl")
    lines = (tmp_path / "other.jsonl").read_bytes()
    (tmp_path / "out.parquet.part.jsonl").write_bytes(lines[: len(lines) // 2])
    predict(tiny_models, folder, "--out", tmp_path / "out.parquet")
    assert _read(tmp_path / "out.parquet") == _expected(folder)
    assert not (tmp_path / "out.parquet.part.jsonl").exists()


def test_names_of_strange_bytes(tiny_models: Path, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("--json.png", "=1+1.png", 'a,b\n"c".png', "nicht-\udcff.png", "Würstchen 🌭.png", " .png"):
        Path(name).write_bytes(encode(Image.new("RGB", (30, 20), (255, 0, 0)), "PNG"))
    for _ in range(2):
        assert predict(tiny_models, "--out", out, "--", "--json.png", ".").exit_code == 0
        names = [row["file"] for row in _read(out)]
        assert names == [" .png", "--json.png", "=1+1.png", "Würstchen 🌭.png", 'a,b\n"c".png', "nicht-\\xff.png"]


def test_another_model_is_refused(tiny_models: Path, folder: Path, out: Path, tmp_path: Path) -> None:
    predict(tiny_models, folder, "--out", out)
    before = out.read_bytes()
    other = write_tiny_model(tmp_path / "other.onnx", replace(METADATA, version="other").to_properties())
    result = predict(tiny_models, folder, "--out", out, "--model", other)
    assert (result.exit_code, result.stderr) == (
        2,
        f"seefood: {out} has answers of model tiny, not of other; name another file.\n",
    )
    assert out.read_bytes() == before
    assert not list(tmp_path.glob("*.part.jsonl*"))


def test_a_model_that_can_not_tell_what_is_familiar_leaves_the_column_empty(
    tiny_models: Path, folder: Path, out: Path
) -> None:
    old = write_old_model(folder.parent / "old.onnx")
    for _ in range(2):
        result = predict(tiny_models, folder, "--out", out, "--model", old)
        assert _read(out) == [row | {"unfamiliar": None} for row in _expected(folder)]
        said = SUMMARY.replace(", 1 unfamiliar", "")
        assert result.stderr == f"{said} written to {out}.\n"


def test_a_file_without_the_column_is_refused(tiny_models: Path, folder: Path, out: Path) -> None:
    """As those of earlier versions: rows with and without it in one file would fit nobody's reader."""
    predict(tiny_models, folder, "--out", out)
    rows = [{name: cell for name, cell in row.items() if name != "unfamiliar"} for row in _read(out)]
    if out.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), out)
    elif out.suffix == ".jsonl":
        out.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with out.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    before = out.read_bytes()
    result = predict(tiny_models, folder, "--out", out)
    assert (result.exit_code, result.stderr) == (2, NOT_OURS.format(out))
    assert out.read_bytes() == before


@pytest.mark.parametrize("content", ["my notes", "my notes\n", '{"file": "x"}\n', "file,label\na,b\n", "\0", "\0\n"])
def test_a_file_of_somebody_else_is_left_alone(content: str, tiny_models: Path, folder: Path, out: Path) -> None:
    out.write_text(content)
    result = predict(tiny_models, folder, "--out", out)
    assert (result.exit_code, result.stderr) == (2, NOT_OURS.format(out))
    assert out.read_text() == content


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--out", "out.txt"), "out.txt can't be written: name a file that ends in .csv, .jsonl or .parquet."),
        (("--out", "nowhere/out.csv"), "nowhere/out.csv can't be used: No such file or directory."),
        (("--out", "out.csv", "--json"), "--json prints and --out writes; leave one of them out."),
        (("--ray", "auto"), "--ray scores into a file; name one with --out."),
        (("--out", "empty/out.csv"), "empty has no photos in it."),
    ],
)
def test_what_can_not_be_written_is_a_sentence(
    arguments: tuple[str, ...], sentence: str, tiny_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    result = predict(tiny_models, "empty", *arguments)
    assert (result.exit_code, result.stderr) == (2, f"seefood: {sentence}\n")


def test_two_runs_do_not_write_one_file(tiny_models: Path, folder: Path, tmp_path: Path) -> None:
    with open_results(tmp_path / "out.csv", "tiny"):
        result = predict(tiny_models, folder, "--out", tmp_path / "out.csv")
    assert (
        result.stderr
        == f"seefood: {tmp_path}/out.csv is being written by another seefood predict; name another file.\n"
    )


@pytest.mark.parametrize(
    ("hidden", "arguments", "sentence"),
    [
        ("pyarrow", ["--out", "out.parquet"], "Parquet needs pyarrow; pip install 'seefood[bulk]'."),
        ("ray", ["--out", "out.csv", "--ray", "auto"], "--ray needs Ray; pip install 'seefood[bulk]'."),
        ("pyarrow", ["--out", "out.csv", "s3://a/b"], "s3://a needs pyarrow; pip install 'seefood[bulk]'."),
    ],
)
def test_an_absent_extra_is_named(
    hidden: str, arguments: list[str], sentence: str, tiny_models: Path, folder: Path, tmp_path: Path
) -> None:
    hide = f"import sys; sys.modules[{hidden!r}] = None; from service.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", hide, "predict", str(folder), *arguments],
        env=os.environ | {"SEEFOOD_MODELS": str(tiny_models), "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (2, f"seefood: {sentence}\n")


def test_photos_are_not_read_far_ahead(tiny_models: Path, folder: Path) -> None:
    """However many photos there are, no more than a few are taken before the rows of the first are written."""
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        while True:
            taken += 1
            yield folder / "grey.png"

    answers = score(open_model(tiny_models), endless(), threads=3)
    for answered in range(1, 1000):
        next(answers)
        assert taken - answered < 2 * 3 * BATCH_SIZE["cpu"]
    answers.close()


def test_a_folder_is_walked_without_a_list_of_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(500):
        (folder / f"{number}.jpg").symlink_to("grey.png")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "gone.jpg").symlink_to("nowhere")
    (folder / "again").symlink_to(folder)
    listed = 0
    is_file = sources._is_file

    def count(entry: os.DirEntry[str], path: Path) -> bool:
        nonlocal listed
        listed += 1
        return is_file(entry, path)

    monkeypatch.setattr(sources, "_is_file", count)
    photos = sources.walk([folder])
    first = next(photos)
    assert listed < 10
    assert sorted([first, *photos], key=str) == sorted(find_photos(folder), key=str)


def test_a_folder_that_can_not_be_listed_has_a_row(tiny_models: Path, folder: Path) -> None:
    for number in range(100):
        (folder / f"{number}.jpg").symlink_to("grey.png")
    photos = sources.walk([folder])
    next(photos)
    shutil.rmtree(folder / "deeper")
    answers = dict(score(open_model(tiny_models), photos))
    assert answers[folder / "deeper"] == "The file can't be read: No such file or directory."


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Return a folder of as many photos as take some seconds."""
    many = tmp_path / "many"
    many.mkdir()
    (many / "0.jpg").write_bytes(encode(draw("hotdog", 1, (2400, 1800))))
    for number in range(1, 300):
        (many / f"{number}.jpg").hardlink_to(many / "0.jpg")
    return many


@pytest.mark.slow
@pytest.mark.parametrize(("signal_", "status"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_a_run_that_was_ended_is_gone_on_with(
    signal_: signal.Signals, status: int, many: Path, out: Path, tiny_models: Path
) -> None:
    """Every photo has one row, however often and however rudely that is interrupted."""
    rows = out.with_name(f"{out.name}.part.jsonl") if out.suffix == ".parquet" else out
    command = [sys.executable, "-m", "service.cli", "predict", str(many), "--out", str(out)]
    environment = os.environ | {"SEEFOOD_MODELS": str(tiny_models)}
    for least in (50, 150):
        with subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
            deadline = time.monotonic() + 60
            while not rows.exists() or rows.read_bytes().count(b"\n") < least:
                assert process.poll() is None, "it ended too early"
                assert time.monotonic() < deadline, "it was too slow"
                time.sleep(0.005)
            process.send_signal(signal_)
            _, said = process.communicate(timeout=60)
        assert process.returncode == status
        if status > 0:
            assert said == f"seefood: Stopped; the same command goes on from what is in {out}.\n"
        assert "Traceback" not in said
        assert least <= rows.read_bytes().count(b"\n") < 300
    subprocess.run(command, env=environment, cwd=ROOT, check=True)
    assert sorted(row["file"] for row in _read(out)) == sorted(str(path) for path in many.iterdir())


@pytest.fixture
def bucket(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the URL of a folder on a stand-in for S3, with the photos of the other."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        endpoint = "http://{}:{}".format(*server.get_host_and_port())
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        client = boto3.client("s3")
        client.create_bucket(Bucket="kitchen")
        for path in filter(Path.is_file, folder.rglob("*")):
            client.put_object(Bucket="kitchen", Key=f"all 100%/{path.relative_to(folder)}", Body=path.read_bytes())
        sources._filesystem.cache_clear()
        yield "s3://kitchen/all 100%"
    finally:
        sources._filesystem.cache_clear()
        server.stop()


@pytest.mark.slow
def test_photos_in_a_bucket(bucket: str, folder: Path, out: Path, tiny_models: Path) -> None:
    result = predict(tiny_models, f"{bucket}/", f"{bucket}/deeper/red.png", f"{bucket}/missing.jpg", "--out", out)
    assert result.exit_code == 2, result.stderr
    missing, *rows = sorted(_read(out), key=lambda row: "missing" not in row["file"])
    assert missing["error"].startswith("The file can't be read: "), missing["error"]
    assert [row | {"file": row["file"].replace(bucket, str(folder))} for row in rows] == _expected(folder)
    again = predict(tiny_models, bucket, "--out", out)
    assert again.stderr == result.stderr


@pytest.mark.slow
def test_a_bucket_that_does_not_answer_is_a_sentence(
    bucket: str, tiny_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    result = predict(tiny_models, bucket, "--out", tmp_path / "out.csv")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"seefood: {bucket} can't be listed: ")
    assert result.stderr.count("\n") == 1


def test_photos_under_a_file_url(folder: Path, out: Path, tiny_models: Path) -> None:
    predict(tiny_models, f"file://{folder}", "--out", out)
    assert [row | {"file": row["file"].removeprefix("file://")} for row in _read(out)] == _expected(folder)
