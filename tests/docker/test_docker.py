"""The container files, checked without an engine: against their specifications, against each other and the project, and by
running every command of compose.yaml natively, on a real Postgres, with its own health checks."""

from __future__ import annotations

import base64
import fnmatch
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from ruamel.yaml import YAML

import headway
from headway import __version__
from headway.environment import VARIABLES
from headway.promotion import history
from headway.promotion.champion import commit, reconcile
from headway.promotion.rollback import roll_back
from headway.registry.registry import Registry, ref_of
from headway.serving.package import ModelPackage
from headway.tracking import Tracker
from tests.conftest import new_project
from tests.postgres import system_programs, unprivileged
from tests.promotion.conftest import REQUESTER, Stock, decision_content

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
COMPOSE = DOCKER / "compose.yaml"
DOCKERFILE = DOCKER / "Dockerfile"
SCRIPTS = Path(sysconfig.get_path("scripts"))

POSTGRES_PORT = 5432  # of the official image, which compose.yaml leaves as it is
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?P<operator>:[-?])?(?P<operand>[^}]*)\}")
ADDRESS = re.compile(r"(?<=[/@])(?P<host>[a-z][a-z-]*|[0-9.]+):(?P<port>\d+)")


def yaml(path: Path) -> Any:
    return YAML(typ="safe").load(path)


def services() -> dict[str, dict[str, Any]]:
    return yaml(COMPOSE)["services"]


def substitute(text: str, values: dict[str, str]) -> str:
    """The text with compose's ${variables} filled in: with these values, else with their defaults."""
    return VARIABLE.sub(lambda found: values.get(found["name"], found["operand"] if found["operator"] == ":-" else ""), text)


def words(service: dict[str, Any]) -> list[str]:
    """Every string that a service's programs are given."""
    return [*service.get("command", []), *service.get("environment", {}).values(), *service["healthcheck"]["test"]]


def listening_port(service: dict[str, Any]) -> int:
    """The port that a service's own command or settings name."""
    named = [word.removeprefix("--port=") for word in service.get("command", []) if word.startswith("--port=")]
    named += [value for name, value in service.get("environment", {}).items() if name.endswith("WEBSERVER_PORT")]
    return int(named[0]) if named else POSTGRES_PORT


def dependencies(name: str) -> set[str]:
    """The services that are up before this one, at first or second hand."""
    direct = set(services()[name].get("depends_on", {}))
    return direct.union(*map(dependencies, direct))


def image_environment() -> dict[str, str]:
    """The Dockerfile's ENV."""
    lines = DOCKERFILE.read_text().replace("\\\n", " ").splitlines()
    pairs = [pair for line in lines if line.startswith("ENV ") for pair in line.split()[1:]]
    return dict(pair.split("=", 1) for pair in pairs)


# The compose file.


def test_the_compose_file_follows_the_compose_specification() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_image_has_an_exact_version_and_ours_is_the_projects_version() -> None:
    for name, service in services().items():
        image, _, tag = service["image"].partition(":")
        assert tag == __version__ if image == "headway" else re.match(r"\d+\.\d+", tag), f"{name}: {service['image']}"


def test_one_service_builds_the_image_that_the_others_share() -> None:
    builders = [service for service in services().values() if "build" in service]
    assert len(builders) == 1
    build = builders[0]["build"]
    assert (DOCKER / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).resolve() == DOCKERFILE
    arguments = re.findall(r"^ARG (\w+)", DOCKERFILE.read_text(), re.MULTILINE)
    assert list(build["args"]) == arguments


def test_no_secret_is_in_the_compose_file() -> None:
    for name, service in services().items():
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|TOKEN|KEY", key):
                assert VARIABLE.fullmatch(value), f"{name}: {key}"
                assert VARIABLE.fullmatch(value)["operator"] == ":?", f"{name}: {key} must not start without a value"
        for word in words(service):
            assert not re.search(r"//[^/@\s]*:[^/@\s]*@", word), f"{name}: a password in {word}"


def test_the_example_environment_names_every_variable_with_its_default() -> None:
    found = VARIABLE.findall(COMPOSE.read_text())
    used = {(name, operand if operator == ":-" else "") for name, operator, operand in found}
    listed = re.findall(r"^(?:# )?([A-Z_]+)=(.*)$", (DOCKER / ".env.example").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(used)


def test_published_ports_are_distinct_on_loopback_and_the_ones_listened_on() -> None:
    outside = []
    for name, service in services().items():
        for published in service.get("ports", []):
            interface, outer, inner = substitute(published, {}).split(":")
            assert interface == "127.0.0.1", f"{name}: {published}"
            assert int(inner) == listening_port(service), f"{name}: {published}"
            outside.append(outer)
    assert outside
    assert len(set(outside)) == len(outside)


def test_every_address_leads_to_a_port_that_is_listened_on_by_a_service_that_is_up_before() -> None:
    every = services()
    for name, service in every.items():
        for word in words(service):
            for found in ADDRESS.finditer(substitute(word, {})):
                own = found["host"] == "127.0.0.1"
                target = name if own else found["host"]
                assert own or target in dependencies(name), f"{name} does not wait for {target}"
                assert int(found["port"]) == listening_port(every[target]), f"{name}: {word}"


def test_every_service_has_a_health_check_and_is_waited_for_until_it_is_healthy() -> None:
    every = services()
    for name, service in every.items():
        assert service["healthcheck"]["test"][0] == "CMD", name
        for target, how in service.get("depends_on", {}).items():
            assert target in every
            assert how == {"condition": "service_healthy"}, f"{name} → {target}"


def test_every_service_restarts_and_every_volume_is_declared_and_used() -> None:
    every = services()
    assert {service["restart"] for service in every.values()} == {"unless-stopped"}
    sources = [substitute(volume, {}).split(":")[0] for service in every.values() for volume in service.get("volumes", [])]
    assert {source for source in sources if not source.startswith(".")} == set(yaml(COMPOSE)["volumes"])
    assert (DOCKER / "postgres" / "create-databases.sql").is_file()


def test_the_init_script_creates_the_databases_that_the_servers_ask_for() -> None:
    created = re.findall(r"CREATE DATABASE (\w+);", (DOCKER / "postgres" / "create-databases.sql").read_text())
    used = re.findall(rf"@postgres:{POSTGRES_PORT}/(\w+)", COMPOSE.read_text())
    assert sorted(created) == sorted(used)


# The image and what goes into it.


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    done = subprocess.run([SCRIPTS / "hadolint", "--no-color", DOCKERFILE], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_starts_from_an_exact_python_and_ends_as_an_ordinary_user() -> None:
    text = DOCKERFILE.read_text()
    assert re.findall(r"^FROM (.*)$", text, re.MULTILINE) == ["python:3.11.15-slim-bookworm"]
    created = re.search(r"useradd --uid (\d+)", text)
    assert created
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE)[-1] == created[1] != "0"


def test_the_image_installs_the_lock_before_the_source_is_copied() -> None:
    text = DOCKERFILE.read_text()
    steps = ["COPY requirements.lock", "--requirement requirements.lock", "COPY --chown=headway:headway . .", "--no-deps"]
    places = [text.index(step) for step in steps]
    assert places == sorted(places)


def test_the_makefile_finds_everything_installed_in_the_image() -> None:
    settings = dict(re.findall(r"^(\w+) := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE))
    stamp = settings["INSTALLED"].replace("$(VENV)", settings["VENV"])
    assert f"touch {stamp}\n" in DOCKERFILE.read_text()
    assert image_environment()["PATH"].startswith(f"/headway/{settings['VENV']}/bin:")


def test_the_image_sets_every_switch_that_the_command_line_sets() -> None:
    assert VARIABLES.items() <= image_environment().items()


def test_the_image_has_a_folder_of_its_users_for_every_named_volume() -> None:
    command = r"install --directory --owner=headway --group=headway(?P<folders>.*?)\n\n"
    made = re.search(command, DOCKERFILE.read_text(), re.DOTALL)
    assert made
    for name, service in services().items():
        if service["image"].startswith("headway:"):
            for volume in service.get("volumes", []):
                source, target, *_ = substitute(volume, {}).split(":")
                assert source.startswith(".") or target in made["folders"].split(), f"{name}: {volume}"


def left_out(path: str) -> bool:
    """Whether .dockerignore keeps a path, or a folder above it, out of the build context; the last match decides."""
    parts = path.split("/")
    prefixes = ["/".join(parts[: count + 1]) for count in range(len(parts))]
    out = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip().removeprefix("!")
        if not pattern or pattern.startswith("#"):
            continue
        anywhere = pattern.startswith("**/")
        matches = any(
            fnmatch.fnmatchcase(prefix.rpartition("/")[2] if anywhere else prefix, pattern.removeprefix("**/"))
            and (anywhere or prefix.count("/") == pattern.count("/"))
            for prefix in prefixes
        )
        if matches:
            out = not line.startswith("!")
    return out


def test_the_build_context_holds_everything_that_git_tracks() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git repository")
    assert [path for path in listed.stdout.splitlines() if left_out(path)] == []
    assert not left_out(".git/HEAD")


def test_the_build_context_holds_no_cached_result_and_no_secret() -> None:
    outs = []
    for stage in yaml(ROOT / "dvc.yaml")["stages"].values():
        outs += [out for kind in ("outs", "metrics", "plots") for out in stage.get(kind, []) if isinstance(out, str)]
    assert outs
    private = ["docker/.env", ".git/config", ".dvc/config.local"]
    private += ["data/input/reviews.csv", "data/corrections/list.csv", "label_errors.csv", "data/vectors/glove.txt"]
    private += ["data/encoders/organisation/tiny/config.json"]
    own = [".venv/bin/python", "src/headway/__pycache__/cli.cpython-311.pyc", ".headway/study", "mlruns/mlflow.db"]
    assert [path for path in [*outs, *private, *own, ".dvc/cache/files"] if not left_out(path)] == []


# The real thing, without the containers.

PROBE = """
import mlflow
from prefect import flow

@flow
def probe():
    with mlflow.start_run():
        mlflow.log_metric("answer", 42)
        mlflow.log_text("made on the worker", "note.txt")
"""


def postgres_programs() -> Path:
    """The folder of a PostgreSQL that carries pg_trgm, which Prefect's tables need and a wheel's server lacks."""
    for folder in system_programs():
        if (folder / "pg_config").is_file():
            shared = subprocess.run([folder / "pg_config", "--sharedir"], capture_output=True, text=True, check=True)
            if Path(shared.stdout.strip(), "extension", "pg_trgm.control").is_file():
                return folder
    pytest.skip("no PostgreSQL with its contrib modules on this machine (Debian: apt-get install postgresql)")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def call(url: str, body: dict[str, Any] | None = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    """Status and answer (parsed when it is JSON) of a GET, or of a POST when there is a body."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **(headers or {})})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=20) as answer:
            text, status, kind = answer.read().decode(), answer.status, answer.headers.get_content_type()
    except urllib.error.HTTPError as error:
        text, status, kind = error.read().decode(), error.code, error.headers.get_content_type()
    return status, json.loads(text) if kind == "application/json" else text


class Stack:
    """compose.yaml's services as processes of this machine, each on a free port, in one temporary folder."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder = folder
        self.programs = programs
        self.services = services()
        self.ports = {listening_port(service): free_port() for service in self.services.values()}
        # Characters that a URL would trip over.
        self.variables = {name: secrets.token_urlsafe(8) + " @:/%" for name in ("POSTGRES_PASSWORD", "PREFECT_PASSWORD")}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.home = folder / "home"
        self.home.mkdir()
        self.unprivileged = unprivileged()

    def translate(self, text: str) -> str:
        """A word of compose.yaml with its hosts, ports and folders replaced by this machine's."""
        text = substitute(text, self.variables)
        text = ADDRESS.sub(lambda found: f"127.0.0.1:{self.ports[int(found['port'])]}", text)
        text = re.sub(r"^(--port=)?(\d+)$", lambda found: f"{found[1] or ''}{self.ports[int(found[2])]}", text)
        text = re.sub(r"^(--host=)0\.0\.0\.0$", r"\g<1>127.0.0.1", text)
        return re.sub(r"(?<==)/artifacts$|^/home/headway", lambda found: str(self.volume(found[0])), text)

    def volume(self, inside: str) -> Path:
        """The folder here for one in the container."""
        return self.home if inside == "/home/headway" else self.folder / inside.strip("/")

    def environment(self, name: str) -> dict[str, str]:
        own = {key: self.translate(value) for key, value in self.services[name].get("environment", {}).items()}
        path = {"PATH": os.pathsep.join([str(SCRIPTS), str(self.programs), os.defpath]), "HOME": str(self.home)}
        # A worker asks for work every ten seconds; a test need not wait so long.
        return {"PREFECT_WORKER_QUERY_SECONDS": "2"} | image_environment() | path | own

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[listening_port(self.services[name])]}"

    def prefect(self, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        """Status and answer of Prefect's API, asked with its password."""
        auth = base64.b64encode(f"headway:{self.variables['PREFECT_PASSWORD']}".encode()).decode()
        return call(f"{self.url('prefect')}/api/{path}", body, {"Authorization": f"Basic {auth}"})

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def spawn(self, name: str, command: list[str], **options: Any) -> None:
        with self.log(name).open("wb") as log:
            self.processes[name] = subprocess.Popen(
                command, cwd=self.folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True, **options
            )

    def start(self, name: str) -> None:
        if name == "postgres":
            self.start_postgres()
        else:
            command = [self.translate(word) for word in self.services[name]["command"]]
            self.spawn(name, command, env=self.environment(name))

    def start_postgres(self) -> None:
        """What the official image's entry point does: a cluster with a password, the init scripts, then the server."""
        settings = self.environment("postgres")
        cluster, key = self.folder / "postgres", self.folder / "password"
        cluster.mkdir()
        key.write_text(settings["POSTGRES_PASSWORD"])
        if self.unprivileged:
            for path in (cluster, key):
                os.chown(path, self.unprivileged["user"], self.unprivileged["group"])
        who = ["--username=" + settings["POSTGRES_USER"], "--auth-local=trust", "--auth-host=scram-sha-256"]
        how = ["--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", f"--pwfile={key}", f"--pgdata={cluster}"]
        self.run([self.programs / "initdb", *who, *how], cwd=self.folder, **self.unprivileged)
        port = str(self.ports[POSTGRES_PORT])
        where = ["-D", str(cluster), "-k", str(cluster), "-h", "127.0.0.1", "-p", port, "-c", "fsync=off"]
        self.spawn("postgres", [str(self.programs / "postgres"), *where], **self.unprivileged)
        self.wait_until_healthy("postgres", seconds=30)
        scripts = [volume for volume in self.services["postgres"]["volumes"] if "docker-entrypoint-initdb.d" in volume]
        for script in scripts:
            connection = [f"--host={cluster}", f"--port={port}", "--username=" + settings["POSTGRES_USER"]]
            source = DOCKER / script.split(":")[0]
            options = ["--no-psqlrc", "--set=ON_ERROR_STOP=1", "--dbname=" + settings["POSTGRES_DB"], f"--file={source}"]
            self.run([self.programs / "psql", *connection, *options])

    def run(self, command: list[Any], **options: Any) -> None:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, **options)
        assert done.returncode == 0, done.stdout + done.stderr

    def wait_until_healthy(self, name: str, seconds: float = 120) -> None:
        """Run the service's own health check until it succeeds; fail with the end of its log when it does not."""
        check = [self.translate(word) for word in self.services[name]["healthcheck"]["test"][1:]]
        program = shutil.which(check[0], path=self.environment(name)["PATH"])
        assert program, f"{check[0]}: the health check of {name} is not a program here"
        deadline = time.monotonic() + seconds
        answer = "nothing"
        while time.monotonic() < deadline:
            status = self.processes[name].poll()
            assert status is None, f"{name} ended with status {status}:\n{self.tail(name)}"
            done = subprocess.run(
                [program, *check[1:]], env=self.environment(name), capture_output=True, text=True, timeout=20
            )
            if done.returncode == 0:
                return
            answer = (done.stdout + done.stderr).strip().rpartition("\n")[2]
            time.sleep(0.5)
        pytest.fail(f"{name} is not healthy after {seconds:.0f} s; its check says: {answer}\n{self.tail(name)}")

    def tail(self, name: str) -> str:
        return "\n".join(self.log(name).read_text(errors="replace").splitlines()[-40:])

    def up(self) -> None:
        """Start each service when those it depends on are healthy, as compose does."""
        healthy: set[str] = set()
        for name in sorted(self.services, key=lambda name: len(dependencies(name))):
            for other in sorted(dependencies(name) - healthy):
                self.wait_until_healthy(other)
                healthy.add(other)
            self.start(name)
        for name in set(self.services) - healthy:
            self.wait_until_healthy(name)

    def down(self) -> None:
        """Stop the process groups, the last started first; who does not go is killed."""
        for name, process in reversed(self.processes.items()):
            gentle = signal.SIGINT if name == "postgres" else signal.SIGTERM
            for order in (gentle, signal.SIGKILL):
                try:
                    os.killpg(process.pid, order)
                    process.wait(timeout=10)
                except ProcessLookupError:
                    break
                except subprocess.TimeoutExpired:
                    continue


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    programs = postgres_programs()
    # Not pytest's temporary folder: root's is closed to PostgreSQL's user, and the path is long for a socket.
    with tempfile.TemporaryDirectory(prefix="headway-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        stack = Stack(Path(folder), programs)
        try:
            stack.up()
            yield stack
        finally:
            stack.down()


@pytest.mark.e2e
def test_the_worker_makes_its_pool_and_is_online_in_it(stack: Stack) -> None:
    deadline = time.monotonic() + 40
    workers: list[dict[str, Any]] = []
    while not workers and time.monotonic() < deadline:
        status, answer = stack.prefect("work_pools/headway/workers/filter", {})
        workers = answer if status == 200 else []
        time.sleep(0.5)
    assert [worker["status"] for worker in workers] == ["ONLINE"], stack.tail("worker")
    _, pool = stack.prefect("work_pools/headway")
    assert pool["type"] == "process"


@pytest.mark.e2e
def test_a_flow_run_lands_on_the_worker_and_logs_to_mlflow_through_its_proxy(stack: Stack) -> None:
    (stack.folder / "probe.py").write_text(PROBE)
    _, flow = stack.prefect("flows/", {"name": "probe"})
    here = {"prefect.deployments.steps.set_working_directory": {"directory": str(stack.folder)}}
    deployment = {"name": "probe", "flow_id": flow["id"], "work_pool_name": "headway", "entrypoint": "probe.py:probe"}
    status, deployment = stack.prefect("deployments/", deployment | {"pull_steps": [here]})
    assert status < 300, deployment
    _, run = stack.prefect(f"deployments/{deployment['id']}/create_flow_run", {"state": {"type": "SCHEDULED"}})
    deadline = time.monotonic() + 90
    while run["state"]["type"] in ("SCHEDULED", "PENDING", "RUNNING") and time.monotonic() < deadline:
        time.sleep(0.5)
        _, run = stack.prefect(f"flow_runs/{run['id']}")
    assert run["state"]["type"] == "COMPLETED", f"{run['state']}\n{stack.tail('worker')}"

    mlflow = stack.url("mlflow") + "/api/2.0"
    _, found = call(f"{mlflow}/mlflow/runs/search", {"experiment_ids": ["0"]})
    (logged,) = found["runs"]
    assert [metric["value"] for metric in logged["data"]["metrics"]] == [42]
    assert logged["info"]["artifact_uri"].startswith("mlflow-artifacts:/")
    kept = stack.volume("/artifacts") / logged["info"]["artifact_uri"].removeprefix("mlflow-artifacts:/") / "note.txt"
    assert kept.read_text() == "made on the worker"
    path = f"{logged['info']['artifact_uri'].removeprefix('mlflow-artifacts:/')}/note.txt"
    assert call(f"{mlflow}/mlflow-artifacts/artifacts/{path}") == (200, "made on the worker")


@pytest.mark.e2e
def test_versions_are_registered_judged_restored_and_loaded_with_the_workers_settings(
    stack: Stack, stock: Stock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in stack.environment("worker").items():
        if name.startswith("MLFLOW_TRACKING"):
            monkeypatch.setenv(name, value)
    layout = new_project(tmp_path / "project")
    registry = Registry(Tracker(stock.params, layout))
    with registry.tracker.nested("training", "train", "a key") as run:
        pass
    for folder in stock.folders[:2]:
        version, state = registry.register(folder, run.id, {}), reconcile(registry)
        commit(registry, state, **decision_content(ref_of(version), state.champion_ref))
    roll_back(registry, None, "a test", REQUESTER, {})
    assert [one.kind for one in history.decisions(registry)] == ["promotion", "promotion", "rollback"]
    model = headway.load("champion", project=layout.root)
    texts = ["a fine film", "dull"]
    assert (model.predict_proba(texts) == ModelPackage.load(stock.folders[0]).predict_proba(texts)).all()


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("host", "status"), [("mlflow:5000", 200), ("localhost:5001", 200), ("127.0.0.1:5001", 200), ("elsewhere.example", 403)]
)
def test_mlflow_answers_the_worker_and_the_browser_and_no_foreign_host(stack: Stack, host: str, status: int) -> None:
    assert call(stack.url("mlflow") + "/api/2.0/mlflow/experiments/get?experiment_id=0", headers={"Host": host})[0] == status


@pytest.mark.e2e
def test_prefect_takes_nothing_without_its_password_and_tells_no_other_page_anything(stack: Stack) -> None:
    url = stack.url("prefect")
    assert call(f"{url}/api/flows/", {"name": "planted"})[0] == 401
    answer = requests.get(f"{url}/api/health", headers={"Origin": "http://evil.example"}, timeout=20)
    assert "access-control-allow-origin" not in answer.headers
    assert (
        requests.get(f"{url}/api/health", headers={"Origin": url}, timeout=20).headers["access-control-allow-origin"] == url
    )


@pytest.mark.e2e
def test_prefects_leases_are_on_a_volume(stack: Stack) -> None:
    """So that a crash of the container leaves no concurrency slot taken."""
    _, settings = stack.prefect("admin/settings")
    assert settings["server"]["concurrency"]["lease_storage"].endswith(".filesystem")
    home = Path(settings["home"])
    inside = Path("/home/headway") / home.relative_to(stack.home)
    mounted = [volume.split(":")[1] for volume in stack.services["prefect"]["volumes"]]
    assert str(inside) in mounted
    assert str(inside) in DOCKERFILE.read_text(), "a new volume takes over the owner of the image's folder"


@pytest.mark.e2e
def test_both_user_interfaces_are_served_and_prefects_knows_its_api(stack: Stack) -> None:
    for name in ("mlflow", "prefect"):
        status, page = call(stack.url(name) + "/", headers={"Accept": "text/html"})
        assert status == 200
        assert "<html" in page
    _, settings = call(stack.url("prefect") + "/ui-settings")
    assert settings["api_url"] == stack.url("prefect") + "/api"
    assert (stack.home / "prefect-ui" / "v2" / "index.html").is_file()


@pytest.mark.e2e
def test_each_server_keeps_its_tables_in_its_own_database(stack: Stack) -> None:
    for database, table in {"mlflow": "experiments", "prefect": "flow_run"}.items():
        place = [f"--host={stack.folder / 'postgres'}", f"--port={stack.ports[POSTGRES_PORT]}", "--username=headway"]
        stack.run([stack.programs / "psql", *place, f"--dbname={database}", f"--command=SELECT 1 FROM {table} LIMIT 1"])
