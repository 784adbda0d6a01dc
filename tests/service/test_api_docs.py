"""/openapi.json agrees with the service, and /docs shows it without loading anything from other hosts."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from tests.fixtures.browser import open_browser
from tests.fixtures.server import serving

NOT_DESCRIBED = {  # pages and their files
    "/",
    "/sw.js",
    "/web/<path:filename>",
    "/web/model.json",
    "/web/models/<digest>.onnx",
    "/web/ort/<name>",
    "/inside",
    "/review",
    "/web/inside.onnx",
    "/openapi.json",
    "/docs",
    "/docs/<path:filename>",
}


def test_the_description_has_exactly_the_routes(client: FlaskClient) -> None:
    routes = {
        (re.sub(r"<(?:int:)?([a-z]+)>", r"{\1}", rule.rule), method.lower())
        for rule in client.application.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule not in NOT_DESCRIBED
    }
    with client.get("/openapi.json") as answer:
        paths = answer.get_json()["paths"]
    assert routes == {(path, method) for path, methods in paths.items() for method in methods}


@pytest.mark.slow
def test_the_service_conforms_to_its_description(tiny_models: Path, tmp_path: Path) -> None:
    """Schemathesis sends valid and invalid requests, and fails on a response that the description does not have."""
    settings = {"SEEFOOD_FEEDBACK_DIR": str(tmp_path / "feedback"), "SEEFOOD_REVIEW_KEY": "0123456789abcdef0123"}
    with serving(tiny_models, **settings) as server:
        schema = f"http://127.0.0.1:{server.port}/openapi.json"
        command = [
            sys.executable,
            "-m",
            "schemathesis.cli",
            "--config-file",
            str(Path(__file__).parent / "schemathesis.toml"),
        ]
        limits = ["--checks", "all", "--max-examples", "50", "--seed", "1", "--no-color"]
        told = subprocess.run(
            [*command, "run", schema, *limits], capture_output=True, text=True, check=False, cwd=tmp_path
        )
    assert told.returncode == 0, told.stdout
    assert "Tested: 20" in told.stdout


@pytest.mark.slow
def test_the_page_shows_every_route(tiny_models: Path) -> None:
    with serving(tiny_models) as server, open_browser() as browser:
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        errors: list[str] = []
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.goto(f"http://127.0.0.1:{server.port}/docs")
        page.wait_for_selector(".opblock")
        shown = page.locator(".opblock").count()
        described = page.evaluate("async () => Object.keys((await (await fetch('openapi.json')).json()).paths).length")
    assert shown == described, "one operation for each path"
    assert all(url.startswith((f"http://127.0.0.1:{server.port}/", "data:", "blob:")) for url in asked)
    assert not errors
