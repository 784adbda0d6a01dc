"""The files that start a retraining at night are valid, and their commands have options that exist."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import kubernetes_validate
import pytest
import yaml
from kubernetes_validate.utils import all_versions

from tests.conftest import ROOT
from training.cli import retrain

UNITS = ROOT / "deploy" / "retrain"
CRON_JOB = yaml.safe_load((ROOT / "deploy/kubernetes/retrain/cron-job.yaml").read_text())
COPY = yaml.safe_load((ROOT / "deploy/kubernetes/retrain/copy-models.yaml").read_text())
POD = CRON_JOB["spec"]["jobTemplate"]["spec"]["template"]["spec"]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.override.yml").read_text())["services"]
VERSIONS = list(dict.fromkeys(all_versions()))


def _commands() -> Iterator[tuple[str, list[str]]]:
    """Yield the arguments after `seefood` of each file."""
    unit = (UNITS / "seefood-retrain.service").read_text().replace("\\\n", " ")
    yield "systemd", shlex.split(re.search(r"^ExecStart=\S+ (.*)$", unit, re.MULTILINE)[1])  # type: ignore[index]
    (line,) = re.findall(r"^[\d*].*$", (UNITS / "seefood-retrain.cron").read_text(), re.MULTILINE)
    yield "cron", shlex.split(line.split("/bin/seefood ")[1])
    yield "Compose", COMPOSE["retrain"]["command"]
    yield "Kubernetes", POD["containers"][0]["args"]


COMMANDS = dict(_commands())


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_has_options_that_exist(name: str) -> None:
    first, *arguments = COMMANDS[name]
    assert first == "retrain"
    context = retrain.make_context("retrain", arguments)
    assert isinstance(context, click.Context)
    values = context.params
    assert values["when"] == "accepted=200"
    assert values["inbox"].name == ("feedback" if name in ("Compose", "Kubernetes") else "inbox")
    assert values["tests"][0].name == "test"
    assert values["hard_negatives"][0].name == "hard-negatives"


@pytest.mark.parametrize("version", [VERSIONS[VERSIONS.index("1.27.0")], VERSIONS[-1]])
def test_the_cron_job_and_the_pod_that_copies_are_valid(version: str) -> None:
    kubernetes_validate.validate(CRON_JOB, version, strict=True)
    kubernetes_validate.validate(COPY, version, strict=True)


def test_the_pod_that_copies_has_the_registry_of_the_cron_job() -> None:
    (copying,), (training,) = COPY["spec"]["containers"], POD["containers"]
    assert copying["image"] == training["image"]
    assert copying["securityContext"] == training["securityContext"]
    assert COPY["spec"]["securityContext"] == POD["securityContext"], "the same user"
    assert COPY["spec"]["volumes"] == [volume for volume in POD["volumes"] if volume["name"] == "models"]
    assert copying["volumeMounts"] == [mount for mount in training["volumeMounts"] if mount["name"] == "models"]
    page = (ROOT / "docs" / "the-loop.md").read_text()
    assert f"kubectl exec -i {COPY['metadata']['name']} -- tar -C {copying['volumeMounts'][0]['mountPath']}" in page


def test_the_cron_job_has_minimal_permissions_and_no_service() -> None:
    (container,) = POD["containers"]
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    service = yaml.safe_load((ROOT / "deploy/kubernetes/service.yaml").read_text())
    labels = CRON_JOB["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"]
    assert not service["spec"]["selector"].items() <= labels.items()
    volumes = {volume["name"] for volume in POD["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes


def test_the_units_are_valid(tmp_path: Path) -> None:
    """The check fails if the program or the user does not exist, so both are replaced."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze is installed")
    for name in ("service", "timer"):
        unit = (UNITS / f"seefood-retrain.{name}").read_text()
        unit = unit.replace("/opt/seefood/.venv/bin/seefood ", f"{sys.executable} ").replace(
            "User=seefood", "User=root"
        )
        (tmp_path / f"seefood-retrain.{name}").write_text(unit.replace("/opt/seefood/docs", str(ROOT / "docs")))
    command = ["systemd-analyze", "verify", "--man=no", *map(str, sorted(tmp_path.iterdir()))]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    complaints = [line for line in checked.stderr.splitlines() if "seefood-retrain" in line]
    assert (checked.returncode, complaints) == (0, [])
    (tmp_path / "seefood-retrain.timer").write_text("[Timer]\nOnCalendar=at night\n")
    wrong = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "at night" in wrong.stderr, "a mistake is found"


def test_cron_accepts_the_file() -> None:
    text = (UNITS / "seefood-retrain.cron").read_text()
    assert text.endswith("\n"), "cron ignores a last line without its end"
    lines = [line for line in text.splitlines() if not line.startswith("#") and "=" not in line.split()[0]]
    (line,) = lines
    minute, hour, day, month, weekday, user, *_ = line.split()
    assert (int(minute) < 60, int(hour) < 24, day, month, weekday, user) == (True, True, "*", "*", "*", "seefood")
    assert "%" not in line, "cron would end the line there"


def test_compose_has_the_profile() -> None:
    if shutil.which("docker-compose") is None:
        pytest.skip("no docker-compose is installed")
    command = ["docker-compose", "--profile", "retrain", "config"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    made = yaml.safe_load(checked.stdout)["services"]["retrain"]
    assert made["command"] == COMMANDS["Compose"]
    assert made["read_only"] is True
    assert made["cap_drop"] == ["ALL"], "as the service train"
