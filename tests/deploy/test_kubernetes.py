"""The manifests are valid for Kubernetes, and agree with the service; the tests need no cluster."""

import re
import shutil
import subprocess
from dataclasses import fields
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from gunicorn.config import GracefulTimeout
from kubernetes_validate.utils import all_versions

from service.admission import MAX_BODY_BYTES
from service.decoder import DECODE_MEMORY
from service.decoders import SMALL_MEMORY
from service.settings import Settings
from tests.conftest import ROOT, MakeApp

FOLDER = ROOT / "deploy" / "kubernetes"
PAGE = (ROOT / "docs" / "kubernetes.md").read_text()
BASE = {path.name: yaml.safe_load(path.read_text()) for path in FOLDER.glob("*.yaml")}
KEYS = yaml.safe_load((FOLDER / "api-keys" / "deployment.yaml").read_text())
VERSIONS = list(dict.fromkeys(all_versions()))
VERSIONS = VERSIONS[VERSIONS.index("1.27.0") :]  # the first version that supports every field of the manifests


KUSTOMIZATION = BASE.pop("kustomization.yaml")
DEPLOYMENT = BASE["deployment.yaml"]
POD = DEPLOYMENT["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def _patched(whole: Any, patch: Any) -> Any:
    """Apply a patch to a manifest as kustomize does: items of lists are merged by their names."""
    if isinstance(whole, dict) and isinstance(patch, dict):
        return whole | {key: _patched(whole.get(key), value) for key, value in patch.items()}
    if isinstance(whole, list) and isinstance(patch, list):
        named, more = {part["name"]: part for part in whole}, {part["name"]: part for part in patch}
        return [_patched(named.get(name), more.get(name, named.get(name))) for name in named | more]
    return patch


def _validate(manifest: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


def _uncommented(path: Path) -> dict[str, Any]:
    """Return the manifest with its optional lines: those that have `# ` after their indent."""
    shown = re.sub(r"^( +)# (?=- type:| +\w+:)", r"\1", path.read_text(), flags=re.MULTILINE)
    manifest: dict[str, Any] = yaml.safe_load(shown)
    return manifest


def test_every_manifest_is_valid() -> None:
    for manifest in (*BASE.values(), _patched(DEPLOYMENT, KEYS)):
        _validate(manifest, VERSIONS[-1])


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_is_valid_in_every_version(version: str) -> None:
    for manifest in (*BASE.values(), _patched(DEPLOYMENT, KEYS)):
        _validate(manifest, version)


def test_the_documentation_names_the_versions() -> None:
    oldest, newest = (version.removesuffix(".0") for version in (VERSIONS[0], VERSIONS[-1]))
    assert f"schemas, {oldest} to {newest}, in strict mode" in PAGE


def test_a_misspelt_field_is_found() -> None:
    with pytest.raises(kubernetes_validate.ValidationError, match="readOnlyRootFileSystem"):
        _validate(
            _patched(DEPLOYMENT, {"spec": {"template": {"spec": {"readOnlyRootFileSystem": True}}}}), VERSIONS[-1]
        )


def test_scaling_by_photos_in_flight_is_valid_when_uncommented() -> None:
    scaler = _uncommented(FOLDER / "horizontal-pod-autoscaler.yaml")
    _validate(scaler, VERSIONS[-1])
    (more,) = scaler["spec"]["metrics"][1:]
    assert more["pods"]["metric"]["name"] == "seefood_photos_in_flight"
    assert int(more["pods"]["target"]["averageValue"]) == Settings().queue / 4


def test_kustomize_has_every_file() -> None:
    assert KUSTOMIZATION["resources"] == sorted(BASE)
    assert [image["name"] for image in KUSTOMIZATION["images"]] == [CONTAINER["image"]]
    component = yaml.safe_load((FOLDER / "api-keys" / "kustomization.yaml").read_text())
    beside = {path.name for path in (FOLDER / "api-keys").iterdir()} - {"kustomization.yaml"}
    assert {patch["path"] for patch in component["patches"]} == beside


@pytest.mark.slow
def test_kustomize_renders_the_validated_manifests(tmp_path: Path) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl is installed")
    shutil.copytree(FOLDER, tmp_path / "base")
    (tmp_path / "kustomization.yaml").write_text("resources: [base]\ncomponents: [base/api-keys]\n")
    command = ["kubectl", "kustomize", str(tmp_path)]
    rendered = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    made = {manifest["kind"]: manifest for manifest in yaml.safe_load_all(rendered)}
    image = {"name": CONTAINER["name"], "image": "seefood:latest"}
    named = {"spec": {"template": {"spec": {"containers": [image]}}}}
    expected = {manifest["kind"]: manifest for manifest in BASE.values()}
    expected["Deployment"] = _patched(_patched(DEPLOYMENT, KEYS), named)
    assert _ordered(made) == _ordered(expected)


@pytest.mark.slow
def test_the_documented_kustomization_for_feedback_runs_one_replica(tmp_path: Path) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl is installed")
    blocks = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (shown,) = [block for block in blocks if "\npatches:" in block]
    shutil.copytree(FOLDER, tmp_path / "deploy" / "kubernetes")
    (tmp_path / "kustomization.yaml").write_text(shown)
    command = ["kubectl", "kustomize", str(tmp_path)]
    rendered = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    made = {manifest["kind"]: manifest for manifest in yaml.safe_load_all(rendered)}
    assert made.keys() == {manifest["kind"] for manifest in BASE.values()} - {"HorizontalPodAutoscaler"}
    _validate(made["Deployment"], VERSIONS[-1])
    spec = made["Deployment"]["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    (container,), volumes = (spec["template"]["spec"][name] for name in ("containers", "volumes"))
    variables = {variable["name"]: variable["value"] for variable in container["env"]}
    assert variables["SEEFOOD_FEEDBACK_DIR"] == "/feedback"
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/tmp", "/feedback"}  # noqa: S108
    claims = [volume["persistentVolumeClaim"] for volume in volumes if "persistentVolumeClaim" in volume]
    assert claims == [{"claimName": "seefood-feedback"}]


def _ordered(value: Any) -> Any:
    """Return a value with its named items sorted, because merging does not keep their order."""
    if isinstance(value, dict):
        return {key: _ordered(part) for key, part in value.items()}
    if isinstance(value, list):
        parts = [_ordered(part) for part in value]
        return (
            sorted(parts, key=lambda part: part.get("name", "")) if all(isinstance(p, dict) for p in parts) else parts
        )
    return value


def test_the_probes_use_existing_routes(make_app: MakeApp, tiny_models: Path) -> None:
    client = make_app(Settings(models=tiny_models, api_keys="secret")).test_client()
    paths = [CONTAINER[probe]["httpGet"]["path"] for probe in PROBES]
    assert paths == ["/readyz", "/readyz", "/livez"]
    assert [client.get(path).status_code for path in paths] == [200, 200, 200], "without a key"


def test_every_port_is_that_of_the_service() -> None:
    (port,) = CONTAINER["ports"]
    (entry,) = BASE["service.yaml"]["spec"]["ports"]
    (rule,) = BASE["network-policy.yaml"]["spec"]["ingress"]
    assert port["containerPort"] == Settings().port
    assert {CONTAINER[probe]["httpGet"]["port"] for probe in PROBES} == {port["name"]}
    assert (entry["targetPort"], [allowed["port"] for allowed in rule["ports"]]) == (port["name"], [port["name"]])


def test_the_environment_has_only_settings() -> None:
    """Kubernetes adds variables for each Service of the namespace; SEEFOOD_PORT could be one of them."""
    (patched,) = _patched(DEPLOYMENT, KEYS)["spec"]["template"]["spec"]["containers"]
    known = {f"SEEFOOD_{setting.name.upper()}" for setting in fields(Settings)}
    assert known > {variable["name"] for variable in patched["env"]} == {"SEEFOOD_API_KEYS_FILE"}
    assert POD["enableServiceLinks"] is False
    assert f"{BASE['service.yaml']['metadata']['name'].upper()}_PORT" in known, "a conflict is possible"


def test_the_keys_are_in_the_file_that_the_setting_names() -> None:
    (container,) = KEYS["spec"]["template"]["spec"]["containers"]
    (volume,) = KEYS["spec"]["template"]["spec"]["volumes"]
    (mount,) = container["volumeMounts"]
    (variable,) = container["env"]
    assert (container["name"], mount["name"]) == (CONTAINER["name"], volume["name"])
    command = re.search(
        r"create secret generic (\S+) --from-file=(\S+)", (FOLDER / "api-keys/kustomization.yaml").read_text()
    )
    assert command is not None
    assert volume["secret"]["secretName"] == command[1]
    assert variable["value"] == f"{mount['mountPath']}/{command[2]}"
    assert volume["secret"]["defaultMode"] & 0o044 == 0o040, "only the owner and the group can read it"


def test_every_selector_finds_the_pods() -> None:
    labels = DEPLOYMENT["spec"]["template"]["metadata"]["labels"]
    selectors = [
        DEPLOYMENT["spec"]["selector"]["matchLabels"],
        BASE["service.yaml"]["spec"]["selector"],
        BASE["disruption-budget.yaml"]["spec"]["selector"]["matchLabels"],
        BASE["network-policy.yaml"]["spec"]["podSelector"]["matchLabels"],
        *(spread["labelSelector"]["matchLabels"] for spread in POD["topologySpreadConstraints"]),
    ]
    assert all(selector == labels for selector in selectors)
    target = BASE["horizontal-pod-autoscaler.yaml"]["spec"]["scaleTargetRef"]
    assert target == {key: DEPLOYMENT[key] for key in ("apiVersion", "kind")} | {"name": DEPLOYMENT["metadata"]["name"]}


def test_the_pod_has_minimal_permissions() -> None:
    pod, container = POD["securityContext"], CONTAINER["securityContext"]
    assert POD["automountServiceAccountToken"] is False
    assert pod["runAsNonRoot"] is True
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["runAsUser"] == pod["runAsGroup"] == pod["fsGroup"] == 10001


def test_the_user_is_that_of_the_image() -> None:
    dockerfile = ROOT / "Dockerfile"
    user = re.findall(r"^USER (\S+)$", dockerfile.read_text(), re.MULTILINE)[-1]
    assert user == f"{POD['securityContext']['runAsUser']}:{POD['securityContext']['runAsGroup']}"


def test_a_pod_has_time_to_finish() -> None:
    (_, slept) = CONTAINER["lifecycle"]["preStop"]["exec"]["command"]
    assert POD["terminationGracePeriodSeconds"] >= int(slept) + GracefulTimeout.default + 5
    rolling = DEPLOYMENT["spec"]["strategy"]["rollingUpdate"]
    assert rolling == {"maxUnavailable": 0, "maxSurge": 1}


def test_the_memory_limit_covers_processes_and_tmpfs() -> None:
    files = sum(_mebibytes(volume["emptyDir"]["sizeLimit"]) for volume in POD["volumes"])
    processes = (170_000_000 + MAX_BODY_BYTES + int(_quota()) * SMALL_MEMORY + DECODE_MEMORY) / 2**20
    assert files + processes < _mebibytes(CONTAINER["resources"]["limits"]["memory"])
    assert CONTAINER["resources"]["requests"] == CONTAINER["resources"]["limits"]
    mounted = {mount["mountPath"]: mount["name"] for mount in CONTAINER["volumeMounts"]}
    assert mounted.keys() == {"/tmp"}  # noqa: S108
    assert {volume["name"]: volume["emptyDir"]["medium"] for volume in POD["volumes"]} == dict.fromkeys(
        mounted.values(), "Memory"
    )


def _quota() -> str:
    quota: str = CONTAINER["resources"]["limits"]["cpu"]
    return quota


def _mebibytes(quantity: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([MG]i)", quantity).groups()  # type: ignore[union-attr]
    return int(number) * {"Mi": 1, "Gi": 1024}[unit]


def test_the_monitor_scrapes_the_service(make_app: MakeApp, tiny_models: Path) -> None:
    """ServiceMonitor is a kind of the Prometheus operator, for which kubernetes-validate has no schema."""
    monitor = yaml.safe_load((FOLDER / "monitoring" / "service-monitor.yaml").read_text())
    service = BASE["service.yaml"]
    assert (monitor["apiVersion"], monitor["kind"]) == ("monitoring.coreos.com/v1", "ServiceMonitor")
    assert monitor["spec"].keys() == {"selector", "endpoints"}
    assert monitor["spec"]["selector"]["matchLabels"] == service["metadata"]["labels"]
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint.keys() == {"port", "path", "interval"}
    assert endpoint["port"] == service["spec"]["ports"][0]["name"]
    assert make_app(Settings(models=tiny_models)).test_client().get(endpoint["path"]).status_code == 200
    assert f'job="{service["metadata"]["name"]}"' in (ROOT / "deploy/monitoring/alerts.yml").read_text()


def test_the_documented_command_creates_a_prometheus_rule() -> None:
    (command,) = re.findall(r"^(\{\n.*?\n\}) \| kubectl apply -f -$", PAGE, re.MULTILINE | re.DOTALL)
    made = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, check=True).stdout  # noqa: S607
    rule = yaml.safe_load(made)
    assert (rule["apiVersion"], rule["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert rule["spec"] == yaml.safe_load((ROOT / "deploy/monitoring/alerts.yml").read_text())
