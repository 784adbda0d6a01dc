"""A run over many photos can be interrupted and resumed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.fixtures.drawing import draw, encode
from tests.fixtures.predict import count_rows, part_of, read_rows, wait_for_rows


@pytest.mark.parametrize(
    ("hidden", "arguments", "sentence"),
    [
        ("pyarrow", ["--out", "out.parquet"], "Parquet files require pyarrow; run pip install '.[bulk]' in a clone."),
        ("ray", ["--out", "out.csv", "--ray", "auto"], "--ray requires Ray; run pip install '.[bulk]' in a clone."),
        (
            "pyarrow",
            ["--out", "out.csv", "s3://a/b"],
            "URLs such as s3://a require pyarrow; run pip install '.[bulk]' in a clone.",
        ),
    ],
)
def test_a_missing_extra_is_named(
    hidden: str, arguments: list[str], sentence: str, tiny_models: Path, tmp_path: Path
) -> None:
    (tmp_path / "photo.png").write_bytes(encode(draw("hotdog", 1, (40, 30)), "PNG"))
    hide = f"import sys; sys.modules[{hidden!r}] = None; from service.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", hide, "predict", "photo.png", *arguments],
        env=os.environ | {"SEEFOOD_MODELS": str(tiny_models), "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (2, f"seefood: {sentence}\n")


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Return a folder of photos that takes some seconds to score."""
    many = tmp_path / "many"
    many.mkdir()
    (many / "0.jpg").write_bytes(encode(draw("hotdog", 1, (2400, 1800))))
    for number in range(1, 300):
        (many / f"{number}.jpg").hardlink_to(many / "0.jpg")
    return many


@pytest.mark.slow
@pytest.mark.parametrize(("signal_", "status"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_an_interrupted_run_is_resumed(
    signal_: signal.Signals, status: int, many: Path, out: Path, tiny_models: Path
) -> None:
    """Every photo has one row after two interruptions."""
    command = [sys.executable, "-m", "service.cli", "predict", str(many), "--out", str(out)]
    environment = os.environ | {"SEEFOOD_MODELS": str(tiny_models)}
    for least in (50, 150):
        with subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
            wait_for_rows(part_of(out), least, process)
            process.send_signal(signal_)
            _, stderr = process.communicate(timeout=60)
        assert process.returncode == status
        if status > 0:
            assert stderr == f"seefood: Stopped before {out} was complete; run the same command again to resume.\n"
        assert "Traceback" not in stderr
        assert least <= count_rows(part_of(out)) < 300
    subprocess.run(command, env=environment, cwd=ROOT, check=True)
    assert sorted(row["file"] for row in read_rows(out)) == sorted(str(path) for path in many.iterdir())
