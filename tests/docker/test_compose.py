"""compose.yaml, checked without an engine: against its specification, against itself and the project, and for what it lets
services do."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from headway import __version__
from tests.docker.compose_file import (
    ADDRESS,
    COMPOSE,
    DOCKER,
    DOCKERFILE,
    POSTGRES_PORT,
    ROOT,
    VARIABLE,
    dependencies,
    listening_ports,
    services,
    stages,
    substitute,
    words,
    yaml,
)

SECRETS = "/run/secrets/"


def test_the_compose_file_follows_the_compose_specification() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", services())
def test_an_image_is_ours_in_this_version_or_pinned_by_version_and_digest(name: str) -> None:
    image = services()[name]["image"]
    ours = re.fullmatch(r"headway-\w+:(.+)", image)
    assert bool(ours) == (services()[name].get("pull_policy") == "never")
    assert ours[1] == __version__ if ours else re.fullmatch(r"[\w/]+:v?\d+\.\d+[\w.-]*@sha256:[0-9a-f]{64}", image), image


def test_each_of_our_images_is_built_once_from_a_stage_of_its_own() -> None:
    builds = {service["image"]: service["build"] for service in services().values() if "build" in service}
    used = {service["image"] for service in services().values() if service["image"].startswith("headway-")}
    assert builds.keys() == used
    for image, build in builds.items():
        assert (DOCKER / build["context"]).resolve() == ROOT
        assert (ROOT / build["dockerfile"]).resolve() == DOCKERFILE
        assert image.startswith(f"headway-{build['target']}:")
        assert build["target"] in stages()
        assert set(build.get("args", {})) <= set(re.findall(r"^ARG (\w+)", DOCKERFILE.read_text(), re.MULTILINE))


@pytest.mark.parametrize("name", services())
def test_a_service_may_do_no_more_than_it_needs(name: str) -> None:
    service = services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"mem_limit", "cpus", "pids_limit"} <= service.keys()
    assert set(service.get("cap_add", [])) <= {"CHOWN", "SETGID", "SETUID"}
    assert "privileged" not in service


def test_only_the_two_servers_reach_postgres_and_postgres_reaches_nothing() -> None:
    every = services()
    assert {name for name, service in every.items() if "databases" in service.get("networks", [])} == {
        "postgres",
        "mlflow",
        "prefect",
    }
    assert every["postgres"]["networks"] == ["databases"]
    assert yaml(COMPOSE)["networks"]["databases"] == {"internal": True}


def test_every_secret_is_a_file_that_the_script_makes_and_that_git_and_images_leave_out() -> None:
    declared = yaml(COMPOSE)["secrets"]
    assert declared == {name: {"file": f"secrets/{name}"} for name in declared}
    script = (DOCKER / "make-secrets.sh").read_text()
    assert [name for name in declared if not re.search(rf"\b{name}\b", script)] == []
    assert {name for service in services().values() for name in service.get("secrets", [])} == declared.keys()
    ignored = subprocess.run(["git", "check-ignore", "docker/secrets/store"], cwd=ROOT, capture_output=True)
    assert ignored.returncode in (0, 128)  # 128: not a git repository
    assert "docker/secrets" in (ROOT / ".dockerignore").read_text().splitlines()


@pytest.mark.parametrize("name", services())
def test_a_service_is_given_the_secrets_that_it_names_and_no_others(name: str) -> None:
    service = services()[name]
    text = " ".join(words(service))
    named = set(re.findall(rf"{SECRETS}(\w+)", text))
    if name == "postgres":
        named |= set(re.findall(rf"{SECRETS}(\w+)", (DOCKER / "postgres" / "create-databases.sql").read_text()))
    if name == "prometheus":
        named |= set(re.findall(rf"{SECRETS}(\w+)", (DOCKER / "prometheus" / "prometheus.yml").read_text()))
    if name == "setup":
        named |= set(re.findall(r'"((?:mlflow|log)_\w+)"', (DOCKER / "servers" / "set_up.py").read_text()))
    assert named == set(service.get("secrets", []))


@pytest.mark.parametrize("name", services())
def test_no_secret_is_in_a_setting_or_an_address(name: str) -> None:
    service = services()[name]
    for key, value in service.get("environment", {}).items():
        if re.search("PASSWORD|SECRET|TOKEN|KEY|AUTH_STRING|CREDENTIALS_FILE", key):
            assert value.startswith("/run/secrets"), f"{key}: {value}"
    for word in words(service):
        assert not re.search(r"//[^/@\s]*:[^/@\s]*@", word), f"a password in {word}"


def test_every_variable_has_a_default_and_the_example_environment_shows_it() -> None:
    found = VARIABLE.findall(COMPOSE.read_text())
    assert {operator for _, operator, _ in found} == {":-"}
    listed = re.findall(r"^# ([A-Z_]+)=(.*)$", (DOCKER / ".env.example").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted({(name, default) for name, _, default in found})


def test_published_ports_are_distinct_on_loopback_and_the_ones_listened_on() -> None:
    outside = []
    for name, service in services().items():
        for published in service.get("ports", []):
            interface, outer, inner = substitute(published, {}).split(":")
            assert interface == "127.0.0.1", f"{name}: {published}"
            assert int(inner) == listening_ports(service)[0], f"{name}: {published}"
            outside.append(outer)
    assert len(outside) == len(set(outside)) == 4


def test_a_published_service_asks_for_a_login() -> None:
    """Prometheus and the parts of the store do not, and are not published."""
    published = {name for name, service in services().items() if "ports" in service}
    assert published == {"mlflow", "prefect", "serve", "grafana"}


def test_of_the_store_only_s3_can_be_reached_from_other_containers() -> None:
    command = services()["store"]["command"]
    open_to_others = [word for word in command if word.endswith("=0.0.0.0")]
    assert open_to_others == ["-s3.ip.bind=0.0.0.0"]
    assert "-ip.bind=127.0.0.1" in command


def test_every_address_leads_to_a_port_that_is_listened_on_by_a_service_that_is_up_before() -> None:
    every = services()
    for name, service in every.items():
        for word in words(service):
            for found in ADDRESS.finditer(substitute(word, {})):
                own = found["host"] == "127.0.0.1"
                target = name if own else found["host"]
                assert own or target in dependencies(name), f"{name} does not wait for {target}"
                assert int(found["port"]) in listening_ports(every[target]), f"{name}: {word}"


def test_every_service_has_a_health_check_and_is_waited_for_until_it_is_healthy_or_done() -> None:
    every = services()
    for name, service in every.items():
        once = service["restart"] == "no"
        assert once or service["healthcheck"]["test"][0] == "CMD", name
        for target, how in service.get("depends_on", {}).items():
            ended = every[target]["restart"] == "no"
            assert how == {"condition": "service_completed_successfully" if ended else "service_healthy"}, (
                f"{name} → {target}"
            )


def test_every_service_but_the_set_up_restarts_and_every_volume_is_declared_and_used() -> None:
    every = services()
    assert {name for name, service in every.items() if service["restart"] != "unless-stopped"} == {"setup"}
    sources = [substitute(volume, {}).split(":")[0] for service in every.values() for volume in service.get("volumes", [])]
    assert {source for source in sources if not source.startswith(".")} == set(yaml(COMPOSE)["volumes"])
    for source in sources:
        assert not source.startswith(".") or (DOCKER / source).exists(), source


def test_each_server_has_a_database_user_of_its_own_that_owns_the_databases_that_it_asks_for() -> None:
    script = (DOCKER / "postgres" / "create-databases.sql").read_text()
    owners = dict(re.findall(r"CREATE DATABASE (\w+) OWNER (\w+);", script))
    text = COMPOSE.read_text() + (DOCKER / "servers" / "auth.ini").read_text()
    used = re.findall(rf"//(\w+)@postgres:{POSTGRES_PORT}/(\w+)", text)
    assert {database: user for user, database in used} == owners
    assert set(owners.values()) == {"mlflow", "prefect"}
    assert re.findall(r"REVOKE CONNECT ON DATABASE (.*) FROM PUBLIC;", script) == [f"postgres, {', '.join(owners)}"]


def test_no_key_but_the_owners_may_delete_and_each_reaches_one_bucket() -> None:
    keys = json.loads((DOCKER / "store" / "keys.json").read_text())
    documents = {policy["name"]: policy["document"] for policy in keys["policies"]}
    for identity in keys["identities"]:
        if identity["name"] == "owner":
            continue
        assert "actions" not in identity  # SeaweedFS's own Write includes deleting
        (name,) = identity["policyNames"]
        statements = documents[name]["Statement"]
        assert {statement["Effect"] for statement in statements} == {"Allow"}
        allowed = {action for statement in statements for action in statement["Action"]}
        assert not [action for action in allowed if "Delete" in action or "*" in action or "Policy" in action]
        buckets = {re.match(r"arn:aws:s3:::([\w-]+)", one)[1] for statement in statements for one in statement["Resource"]}
        assert len(buckets) == 1
