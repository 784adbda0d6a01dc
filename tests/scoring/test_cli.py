"""Results are printed in any locale."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.fixtures.painting import RED


@pytest.mark.parametrize(("encoding", "shown"), [("utf-8", "日ß"), ("latin-1", "\\u65e5ß")])
def test_a_name_that_the_locale_lacks_is_escaped(encoding: str, shown: str, tiny_models: Path, tmp_path: Path) -> None:
    (tmp_path / "日ß.png").write_bytes(RED)
    result = subprocess.run(
        [sys.executable, "-m", "service.cli", "predict", "日ß.png"],
        env=os.environ | {"SEEFOOD_MODELS": str(tiny_models), "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding},
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.decode(encoding).endswith(f"100.0%  {shown}.png\n")
