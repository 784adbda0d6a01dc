"""Photos are found in folders, under file URLs and in buckets."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from scoring import sources
from scoring.score import score
from service.model import open_model
from service.photo import find_photos
from tests.fixtures.predict import expected_rows, predict, read_rows
from tests.fixtures.server import free_port


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
    outcomes = dict(score(open_model(tiny_models), photos))
    assert outcomes[folder / "deeper"] == "The file can't be read: No such file or directory."


def test_photos_under_a_file_url(folder: Path, out: Path, tiny_models: Path) -> None:
    predict(tiny_models, f"file://{folder}", "--out", out)
    rows = [row | {"file": row["file"].removeprefix("file://")} for row in read_rows(out)]
    assert rows == expected_rows(folder)


@pytest.fixture
def bucket(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the URL of a folder on a local S3 server, with the photos of the fixture `folder`."""
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
    missing, *rows = sorted(read_rows(out), key=lambda row: "missing" not in row["file"])
    assert missing["error"].startswith("The file can't be read: "), missing["error"]
    assert [row | {"file": row["file"].replace(bucket, str(folder))} for row in rows] == expected_rows(folder)
    again = predict(tiny_models, bucket, "--out", out)
    assert again.stderr == result.stderr


@pytest.mark.slow
def test_a_bucket_that_does_not_answer_is_one_sentence(
    bucket: str, tiny_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    result = predict(tiny_models, bucket, "--out", tmp_path / "out.csv")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"seefood: {bucket} can't be listed: ")
    assert result.stderr.count("\n") == 1
