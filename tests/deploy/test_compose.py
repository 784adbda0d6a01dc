"""The compose files, merged as the documented commands merge them; the tests need no Docker engine."""

import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT

KEYS = "/run/secrets/api_keys"


def _merged(*command: str) -> dict[str, Any]:
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {command[0]} is installed")
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if "is not a docker command" in made.stderr:
        pytest.skip("this docker can't show a merged stack")
    assert made.returncode == 0, made.stderr
    services: dict[str, Any] = yaml.safe_load(made.stdout)["services"]
    return services


def test_keys_are_required_with_and_without_a_gpu() -> None:
    """Compose merges the overlay with both files, because only the second one has seefood-gpu."""
    files = re.search(
        r"docker compose ((?:-f \S+ ){2}-f deploy/compose\.keys\.yml)", (ROOT / "docs/deployment.md").read_text()
    )
    assert files is not None
    services = _merged("docker-compose", *files[1].split(), "--profile", "gpu", "config")
    serving = [name for name, service in services.items() if "SEEFOOD_MAX_IMAGES" in service.get("environment", {})]
    assert serving == ["seefood", "seefood-gpu"]
    for name in serving:
        assert services[name]["environment"]["SEEFOOD_API_KEYS_FILE"] == KEYS, name
        assert [secret["source"] for secret in services[name]["secrets"]] == ["api_keys"], name
    assert services["seefood-gpu"]["environment"]["SEEFOOD_DEVICE"] == "cuda"


def test_a_stack_with_keys_has_only_services_with_an_image() -> None:
    services = _merged("docker", "stack", "config", "-c", "docker-compose.yml", "-c", "deploy/swarm.keys.yml")
    assert services["seefood"]["environment"]["SEEFOOD_API_KEYS_FILE"] == KEYS
    assert [secret["source"] for secret in services["seefood"]["secrets"]] == ["api_keys"]
    assert all(service["image"] for service in services.values())
