"""The manifests for Kubernetes, checked without a cluster: against schemas, the command line, the metrics and compose.yaml."""

from __future__ import annotations

import re
import shlex
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML
from typer.main import get_command

from headway import __version__, cli
from headway.serving.http.admission import OPEN, PROBES
from headway.serving.http.metrics import Metrics
from headway.serving.http.settings import ServeSettings
from tests.conftest import REPOSITORY

FOLDER = REPOSITORY / "docker" / "kubernetes"
APPLIED = ("settings.yaml", "serve.yaml", "worker.yaml")
RAY_DOCKERFILE = FOLDER / "ray.Dockerfile"
QUEUE = "headway_queue_texts"
#: Oldest and newest version whose schemas the manifests have to follow.
KUBERNETES = ("1.27", "1.37")
#: Of KubeRay's RayJob, the part that predict-job.yaml uses. The operator's own schema has 1.3 MB and is not in a package.
GROUP = {"rayStartParams": {"type": "object", "additionalProperties": {"type": "string"}}, "template": {"type": "object"}}
COUNT = {"type": "integer", "minimum": 0}
RAY_JOB = {
    "type": "object",
    "additionalProperties": False,
    "required": ["entrypoint", "rayClusterSpec"],
    "properties": {
        "entrypoint": {"type": "string"},
        "backoffLimit": COUNT,
        "activeDeadlineSeconds": {"type": "integer", "minimum": 1},
        "shutdownAfterJobFinishes": {"const": True},  # else ttlSecondsAfterFinished has no effect
        "ttlSecondsAfterFinished": COUNT,
        "rayClusterSpec": {
            "type": "object",
            "additionalProperties": False,
            "required": ["headGroupSpec", "rayVersion", "authOptions"],
            "properties": {
                "rayVersion": {"type": "string"},
                "authOptions": {"const": {"mode": "token"}},
                "headGroupSpec": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["rayStartParams", "template"],
                    "properties": GROUP,
                },
                "workerGroupSpecs": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"],
                        "properties": {
                            **GROUP,
                            "groupName": {"type": "string"},
                            "replicas": COUNT,
                            "minReplicas": COUNT,
                            "maxReplicas": COUNT,
                        },
                    },
                },
            },
        },
    },
}


def documents(name: str) -> list[dict[str, Any]]:
    return list(YAML(typ="safe").load_all(FOLDER / name))


def applied() -> list[dict[str, Any]]:
    return [document for name in APPLIED for document in documents(name)]


def the(kind: str, name: str = "serve") -> dict[str, Any]:
    (found,) = [one for one in applied() if one["kind"] == kind and one["metadata"]["name"] == name]
    return found


def ray_job() -> dict[str, Any]:
    (found,) = documents("predict-job.yaml")
    return found


def pods() -> dict[str, dict[str, Any]]:
    """The templates of all pods, by a name."""
    cluster = ray_job()["spec"]["rayClusterSpec"]
    found = {name: the("Deployment", name)["spec"]["template"] for name in ("serve", "worker")}
    found["ray-head"] = cluster["headGroupSpec"]["template"]
    return found | {f"ray-{group['groupName']}": group["template"] for group in cluster["workerGroupSpecs"]}


def containers() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Every container with a name, and the spec of its pod."""
    for name, template in pods().items():
        for container in [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]:
            yield f"{name}/{container['name']}", container, template["spec"]


def container(pod: str) -> dict[str, Any]:
    (found,) = pods()[pod]["spec"]["containers"]
    return found


def parsed(words: list[str]) -> dict[str, Any]:
    """The options of a command of headway, as the real command line reads them."""
    assert words[0] == "headway"
    command = get_command(cli.app).commands[words[1]]  # type: ignore[attr-defined]
    with command.make_context(words[1], words[2:]) as context:
        return dict(context.params)


def compose(service: str) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load(REPOSITORY / "docker" / "compose.yaml")["services"][service]
    return found


def settings_of(service: str) -> dict[str, str]:
    """The variables of a pod by name, with those of the ConfigMap."""
    own = {one["name"]: one.get("value", "") for one in container(service)["env"]}
    assert container(service)["envFrom"] == [{"configMapRef": {"name": "headway"}}]
    return {**the("ConfigMap", "headway")["data"], **own}


def environment(container: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in container.get("env", [])}


def secrets() -> dict[str, set[str]]:
    """The keys of each Secret that README.md has a person create."""
    text = (FOLDER / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    created = re.findall(r"kubectl create secret generic (\S+) (.*)", text)
    return {name: set(re.findall(r"--from-file=docker/secrets/(\w+)", options)) for name, options in created}


# Schemas


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("document", applied(), ids=lambda one: f"{one['kind']}-{one['metadata']['name']}")
def test_each_manifest_follows_the_schema_of_kubernetes(document: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("name", ["ray-head", "ray-workers"])
def test_the_pods_of_the_ray_job_follow_the_schema_of_kubernetes(name: str, version: str) -> None:
    template = pods()[name]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **template["metadata"]}, "spec": template["spec"]}
    kubernetes_validate.validate(pod, version, strict=True)


def test_the_schema_refuses_a_misspelt_field() -> None:
    document = the("Deployment")
    document["spec"]["template"]["spec"]["containers"][0]["readinessprobe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, KUBERNETES[-1], strict=True)


def test_the_ray_job_has_the_fields_that_kuberay_knows() -> None:
    job = ray_job()
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    Draft202012Validator(RAY_JOB).validate(job["spec"])


def test_the_kustomization_names_the_manifests_and_the_version_of_the_image() -> None:
    (found,) = documents("kustomization.yaml")
    assert (found["apiVersion"], found["kind"]) == ("kustomize.config.k8s.io/v1beta1", "Kustomization")
    assert set(found) == {"apiVersion", "kind", "resources", "images"}
    assert tuple(found["resources"]) == APPLIED
    tags = {image["name"]: image["newTag"] for image in found["images"]}
    used = {container["image"] for name, container, _ in containers() if not name.startswith("ray-")}
    assert set(tags) == used
    assert set(tags.values()) == {__version__}


# Commands


def test_the_service_has_a_command_that_headway_accepts() -> None:
    found = parsed(container("serve")["args"])
    assert found["host"] == "0.0.0.0"
    assert found["workers"] == 1, "pods are what is added and removed"
    assert found["threads"] == int(container("serve")["resources"]["limits"]["cpu"])
    assert found["log"].startswith("s3://")


def test_a_pod_that_ends_has_the_time_that_the_service_takes_to_end() -> None:
    found = parsed(container("serve")["args"])
    settings = ServeSettings(drain_seconds=found["drain"], request_seconds=found["timeout"], body_seconds=found["timeout"])
    assert the("Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= settings.end_seconds


def test_a_pod_is_out_of_the_service_before_it_stops_listening() -> None:
    probe = container("serve")["readinessProbe"]
    assert parsed(container("serve")["args"])["drain"] >= probe["periodSeconds"] * probe["failureThreshold"]


def test_the_job_has_a_command_that_headway_accepts_and_paths_on_its_volume() -> None:
    found = parsed(shlex.split(ray_job()["spec"]["entrypoint"]))
    assert (found["executor"], found["address"]) == ("ray", "auto")
    (volume,) = [one["mountPath"] for one in container("ray-head")["volumeMounts"] if one["name"] == "batch"]
    assert [Path(path).parent for path in (*found["files"], found["out"])] == [Path(volume)] * 2


def test_the_job_runs_on_the_locked_version_of_ray() -> None:
    locked = re.search(r"^ray==(.+)$", (REPOSITORY / "requirements-dev.lock").read_text(encoding="utf-8"), re.MULTILINE)
    assert locked
    assert ray_job()["spec"]["rayClusterSpec"]["rayVersion"] == locked[1]
    dockerfile = RAY_DOCKERFILE.read_text(encoding="utf-8")
    assert f'"ray[default]=={locked[1]}"' in dockerfile
    assert f"FROM {container('worker')['image']}:{__version__}\n" in dockerfile
    assert {container("ray-head")["image"], container("ray-workers")["image"]} == {f"headway-ray:{__version__}"}


@pytest.mark.parametrize("service", ["serve", "worker"])
def test_a_pod_has_the_settings_of_the_service_in_compose(service: str) -> None:
    found, expected = settings_of(service), compose(service)["environment"]
    differ = {name for name in expected if found.get(name) != expected[name]}
    assert differ <= {"TZ", "PREFECT_WORKER_WEBSERVER_HOST"}, "a variable there, and probes from outside of the pod here"
    assert set(found) - set(expected) <= {"POD_IP", "HOME", "PREFECT_API_URL", "TZ"}


def test_the_worker_has_the_command_of_the_one_in_compose() -> None:
    assert container("worker")["args"] == compose("worker")["command"]
    assert pods()["worker"]["spec"]["hostname"] == compose("worker")["hostname"]


def test_the_service_has_the_options_of_the_one_in_compose() -> None:
    found, expected = parsed(container("serve")["args"]), parsed(compose("serve")["command"])
    for name in ("model", "model_name", "host", "port", "token_file", "max_texts", "queue"):
        assert found[name] == expected[name]


def test_hadolint_finds_nothing_in_the_image_of_the_job() -> None:
    program = Path(sysconfig.get_path("scripts")) / "hadolint"
    done = subprocess.run([program, "--no-color", RAY_DOCKERFILE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# Ports, probes and metrics


def test_ports_are_those_that_are_listened_on() -> None:
    port = parsed(container("serve")["args"])["port"]
    assert container("serve")["ports"] == [{"name": "http", "containerPort": port}]
    assert the("Service")["spec"]["ports"][0]["targetPort"] == "http"
    (health,) = container("worker")["ports"]
    assert health["containerPort"] == int(environment(container("worker"))["PREFECT_WORKER_WEBSERVER_PORT"]["value"])


def test_probes_ask_paths_that_need_neither_a_token_nor_a_known_host() -> None:
    serve = container("serve")
    assert serve["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "http"}
    assert serve["readinessProbe"]["httpGet"] == serve["startupProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert {"/livez", "/readyz"} == PROBES <= OPEN
    assert container("worker")["livenessProbe"]["httpGet"] == {"path": "/health", "port": "health"}


def test_the_service_scales_by_a_metric_that_it_exports() -> None:
    (metric,) = the("HorizontalPodAutoscaler")["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == QUEUE
    assert f"# TYPE {QUEUE} gauge" in Metrics().render().decode()
    (rule,) = documents("prometheus-adapter.yaml")[0]["rules"]["custom"]
    assert rule["seriesQuery"].startswith(QUEUE + "{")
    assert float(metric["pods"]["target"]["averageValue"]) < ServeSettings().queue_texts / 2, "requests are refused before"


def test_prometheus_scrapes_the_pods_with_a_token() -> None:
    (monitor,) = documents("pod-monitor.yaml")
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["path"] == "/metrics" not in OPEN
    assert endpoint["port"] == "http"
    assert endpoint["authorization"]["credentials"] == {"name": "headway-serve", "key": "metrics_token"}
    assert "metrics_token" in secrets()["headway-serve"]
    assert "$(POD_IP)" in parsed(container("serve")["args"])["allowed_host"]
    assert environment(container("serve"))["POD_IP"]["valueFrom"] == {"fieldRef": {"fieldPath": "status.podIP"}}


@pytest.mark.parametrize("name", ["serve", "worker"])
def test_selectors_select_the_pods_of_their_deployment(name: str) -> None:
    deployment = the("Deployment", name)
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    if name == "serve":
        (monitor,) = documents("pod-monitor.yaml")
        assert the("Service")["spec"]["selector"] == labels
        assert the("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
        assert monitor["spec"]["selector"]["matchLabels"] == labels
        target = the("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
        assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
        assert "replicas" not in deployment["spec"], "the autoscaler sets them"


# Least privilege, and what the pods are given


def test_every_container_is_confined() -> None:
    for name, found, pod in containers():
        assert found["securityContext"]["readOnlyRootFilesystem"] is True, name
        assert found["securityContext"]["allowPrivilegeEscalation"] is False, name
        assert found["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
        assert set(found["resources"]["limits"]) >= {"cpu", "memory"}, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert f"useradd --uid {pod['securityContext']['runAsUser']} " in (REPOSITORY / "docker/Dockerfile").read_text(), (
            name
        )
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name


def test_every_volume_is_there_and_used() -> None:
    mounted: dict[str, set[str]] = {name: set() for name in pods()}
    for name, found, _ in containers():
        mounted[name.partition("/")[0]] |= {one["name"] for one in found.get("volumeMounts", [])}
    for name, template in pods().items():
        assert {one["name"] for one in template["spec"]["volumes"]} == mounted[name], name


def test_every_secret_is_a_file_that_the_readme_creates_and_compose_knows() -> None:
    known = set(YAML(typ="safe").load(REPOSITORY / "docker" / "compose.yaml")["secrets"])
    for service in ("serve", "worker"):
        (volume,) = [one["secret"] for one in pods()[service]["spec"]["volumes"] if "secret" in one]
        keys = secrets()[volume["secretName"]]
        assert keys <= known
        files = {
            value for value in (*settings_of(service).values(), *container(service)["args"]) if "/run/secrets/" in value
        }
        named = {value.rpartition("/run/secrets/")[2] for value in files}
        assert named == keys - {"metrics_token"}, service


def test_no_secret_is_in_a_manifest() -> None:
    for name, found, _ in containers():
        for variable in environment(found).values():
            if re.search("PASSWORD|SECRET|TOKEN|AUTH|KEY", variable["name"]):
                reference = variable.get("valueFrom", {}).get("secretKeyRef")
                if reference:
                    assert reference["key"] in secrets()[reference["name"]], name
                else:
                    assert variable["name"].endswith("__FILE"), f"{name}: {variable['name']}"
