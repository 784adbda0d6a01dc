"""The script that fetches ONNX Runtime for browsers: an error is one sentence, and leaves nothing behind."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

SCRIPT = ROOT / "deploy" / "web" / "get-runtime.mjs"
OTHER_PACKAGE = """#!/bin/sh
echo other > package.tgz
echo '[{"filename": "package.tgz"}]'
"""


def _run(programs: Path, scratch: Path) -> str:
    """Run the script with these programs before the system's own, and return its only line of errors."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node is installed")
    scratch.mkdir()
    environment = {"PATH": f"{programs}:/nowhere", "TMPDIR": str(scratch)}
    ran = subprocess.run([node, SCRIPT], env=environment, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, list(scratch.iterdir())) == (1, "", [])
    (line,) = ran.stderr.splitlines()
    return line


def test_an_absent_npm_is_one_sentence(tmp_path: Path) -> None:
    assert _run(tmp_path, tmp_path / "scratch") == "npm can't be run (spawnSync npm ENOENT); install Node with npm."


def test_a_package_with_another_hash_is_refused(tmp_path: Path) -> None:
    npm = tmp_path / "npm"
    npm.write_text(OTHER_PACKAGE)
    npm.chmod(0o755)
    line = _run(tmp_path, tmp_path / "scratch")
    assert line.startswith("onnxruntime-web@")
    assert "; nothing was written. Check the npm registry in use, or set the new hash in " in line
