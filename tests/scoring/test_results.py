"""Files of results have one row per photo in each format, and a run continues where the last one ended."""

import csv
import json
import os
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from scoring.bulk import predict_into
from scoring.results import open_results
from scoring.score import Outcome, score
from scoring.sources import Address
from service.model import open_model
from service.photo import find_photos
from tests.fixtures.drawing import encode
from tests.fixtures.predict import SUMMARY, expected_rows, part_of, predict, read_rows
from tests.fixtures.tiny_model import METADATA, write_old_model, write_tiny_model

NOT_OURS = "seefood: {} was not written by this version of seefood predict; choose another file.\n"


def test_every_photo_has_a_row(tiny_models: Path, folder: Path, out: Path) -> None:
    result = predict(tiny_models, folder, "--out", out)
    assert read_rows(out) == expected_rows(folder)
    assert (result.exit_code, result.stdout) == (2, ""), "one can't be read"
    assert result.stderr == f"{SUMMARY} written to {out}.\n"
    assert [path.name for path in out.parent.iterdir() if path != folder] == [out.name]


def test_a_photo_with_a_row_is_not_read_again(tiny_models: Path, folder: Path, out: Path) -> None:
    first = predict(tiny_models, folder / "deeper", "--out", out)
    assert first.exit_code == 0
    (folder / "deeper" / "red.png").write_bytes(b"")  # reading it again would give an error
    for _ in range(2):
        again = predict(tiny_models, folder, "--out", out)
        assert again.stderr.startswith(SUMMARY)
        assert read_rows(out) == expected_rows(folder)


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_deleted_row_is_scored_again(ending: str, tiny_models: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / f"out.{ending}"
    predict(tiny_models, folder, "--out", out)
    lines = out.read_text().splitlines(keepends=True)
    out.write_text("".join(line for line in lines if "red.png" not in line))
    assert len(read_rows(out)) == len(expected_rows(folder)) - 1
    predict(tiny_models, folder, "--out", out)
    assert read_rows(out) == expected_rows(folder)


def test_a_photo_named_twice_has_one_row(tiny_models: Path, folder: Path, out: Path) -> None:
    red = folder / "deeper" / "red.png"
    predict(tiny_models, folder, red, folder / "deeper", folder, red, "--out", out)
    assert read_rows(out) == expected_rows(folder)


def test_any_part_of_a_file_is_completed(tiny_models: Path, folder: Path, out: Path, tmp_path: Path) -> None:
    """A run can be killed at any byte; after the next run each photo has one row."""
    strange = '\n"quoted", it\'s \r\udcff.png'
    (folder / "grey.png").rename(folder / strange)
    predict(tiny_models, folder, "--out", tmp_path / "whole.jsonl")
    whole = (tmp_path / "whole.jsonl").read_bytes()
    rows = read_rows(tmp_path / "whole.jsonl")
    assert len(rows) == 5
    model = open_model(tiny_models)
    outcomes: dict[Address, Outcome] = dict(score(model, find_photos(folder)))
    step = 1 if out == part_of(out) else 50  # the same code completes all part files
    for length in (*range(0, len(whole), step), len(whole)):
        part_of(out).write_bytes(whole[:length])
        predict_into(out, model, [folder], lambda photos: ((photo, outcomes[photo]) for photo in photos))
        assert read_rows(out) == rows, length
        assert out == part_of(out) or not part_of(out).exists()
        out.unlink()


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_finished_file_and_its_part_file_are_joined(
    ending: str, tiny_models: Path, folder: Path, tmp_path: Path
) -> None:
    """A run that resumes a finished file can be killed while it copies its rows to the part file."""
    out = tmp_path / f"out.{ending}"
    predict(tiny_models, folder, "--out", tmp_path / "other.jsonl")
    lines = (tmp_path / "other.jsonl").read_bytes().splitlines(keepends=True)
    predict(tiny_models, folder / "deeper", folder / "blue.png", "--out", out)
    part_of(out).write_bytes(b"".join(line for line in lines if b"blue.png" in line or b"grey.png" in line))
    for name in ("deeper/red.png", "blue.png", "grey.png"):
        (folder / name).write_bytes(b"")  # reading it again would give an error
    predict(tiny_models, folder, "--out", out)
    assert read_rows(out) == expected_rows(folder)


def test_a_carriage_return_in_a_name(tiny_models: Path, folder: Path, out: Path) -> None:
    """Without quotes, it would end a row of a CSV file."""
    (folder / "grey.png").rename(folder / "a\rb.png")
    for _ in range(2):
        result = predict(tiny_models, folder, "--out", out)
        assert result.stderr.startswith(SUMMARY)
        assert read_rows(out)[0]["file"] == f"{folder}/a\rb.png"
        assert len(read_rows(out)) == len(expected_rows(folder))


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_finished_file_is_on_the_disk_before_its_part_file_is_removed(
    ending: str, tiny_models: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power failure, at least one of the two files must have the rows."""
    out, synced, fsync = tmp_path / f"out.{ending}", [], os.fsync

    def record(descriptor: int) -> None:
        fsync(descriptor)
        synced.append((os.fstat(descriptor).st_ino, out.exists(), part_of(out).exists()))

    monkeypatch.setattr(os, "fsync", record)
    predict(tiny_models, folder, "--out", out)
    assert synced == [(out.stat().st_ino, False, True), (tmp_path.stat().st_ino, True, True)]
    assert not part_of(out).exists()


def test_names_of_strange_bytes(tiny_models: Path, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("--json.png", "=1+1.png", 'a,b\n"c".png', "nicht-\udcff.png", "Würstchen 🌭.png", " .png"):
        Path(name).write_bytes(encode(Image.new("RGB", (30, 20), (255, 0, 0)), "PNG"))
    for _ in range(2):
        assert predict(tiny_models, "--out", out, "--", "--json.png", ".").exit_code == 0
        names = [row["file"] for row in read_rows(out)]
        assert names == [" .png", "--json.png", "=1+1.png", "Würstchen 🌭.png", 'a,b\n"c".png', "nicht-\\xff.png"]


def test_results_of_another_model_are_refused(tiny_models: Path, folder: Path, out: Path, tmp_path: Path) -> None:
    predict(tiny_models, folder, "--out", out)
    before = out.read_bytes()
    other = write_tiny_model(tmp_path / "other.onnx", replace(METADATA, version="other").to_properties())
    result = predict(tiny_models, folder, "--out", out, "--model", other)
    assert (result.exit_code, result.stderr) == (
        2,
        f"seefood: {out} has results of model tiny, not of other; choose another file.\n",
    )
    assert out.read_bytes() == before
    assert not list(tmp_path.glob("*.part.jsonl*"))


def test_a_row_of_another_model_behind_usable_rows_is_refused(tiny_models: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    predict(tiny_models, folder, "--out", out)
    head, separator, tail = out.read_text().rpartition(",tiny,")
    out.write_text(f"{head},other,{tail}")
    assert separator
    result = predict(tiny_models, folder, "--out", out)
    assert result.stderr == f"seefood: {out} has results of model other, not of tiny; choose another file.\n"
    assert not list(tmp_path.glob("*.part.jsonl*"))


def test_the_column_is_empty_if_the_model_does_not_rate_familiarity(tiny_models: Path, folder: Path, out: Path) -> None:
    old = write_old_model(folder.parent / "old.onnx")
    for _ in range(2):
        result = predict(tiny_models, folder, "--out", out, "--model", old)
        assert read_rows(out) == [row | {"unfamiliar": None} for row in expected_rows(folder)]
        summary = SUMMARY.replace(", 1 unfamiliar", "")
        assert result.stderr == f"{summary} written to {out}.\n"


def test_a_file_without_a_column_is_refused(tiny_models: Path, folder: Path, out: Path) -> None:
    """Files of earlier versions lack a column; no reader expects rows with and without it in one file."""
    predict(tiny_models, folder, "--out", out)
    rows = [{name: cell for name, cell in row.items() if name != "unfamiliar"} for row in read_rows(out)]
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
def test_a_file_with_other_contents_is_not_changed(content: str, tiny_models: Path, folder: Path, out: Path) -> None:
    out.write_text(content)
    result = predict(tiny_models, folder, "--out", out)
    assert (result.exit_code, result.stderr) == (2, NOT_OURS.format(out))
    assert out.read_text() == content


def test_an_empty_file_is_written(tiny_models: Path, folder: Path, out: Path) -> None:
    out.touch()
    predict(tiny_models, folder, "--out", out)
    assert read_rows(out) == expected_rows(folder)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--out", "out.txt"), "out.txt has an unknown extension; use .csv, .jsonl or .parquet."),
        (("--out", "nowhere/out.csv"), "The folder nowhere does not exist; create it first."),
        (("--out", "out.csv", "--json"), "--json can't be combined with --out; omit one of them."),
        (("--ray", "auto"), "--ray requires --out; add --out FILE."),
        (("--out", "empty/out.csv"), "No photos found in empty."),
    ],
)
def test_an_unusable_output_is_one_sentence(
    arguments: tuple[str, ...], sentence: str, tiny_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    result = predict(tiny_models, "empty", *arguments)
    assert (result.exit_code, result.stderr) == (2, f"seefood: {sentence}\n")
    assert not list(tmp_path.rglob("out.*")), "no empty file is left behind"


def test_two_runs_do_not_write_one_file(tiny_models: Path, folder: Path, out: Path) -> None:
    with open_results(out, "tiny"):
        result = predict(tiny_models, folder, "--out", out)
    assert result.stderr == f"seefood: {out} is in use by another seefood predict; choose another file.\n"
