"""compose.yaml's services as processes of this machine, each on a free port, in one temporary folder.

Every service has the command, the settings, the entry point and the health check of compose.yaml and the Dockerfile; only hosts,
ports and folders are this machine's. The state is in a file, so that this module is also the program `docker` of the commands in
the documentation: ``docker compose up``, ``stop``, ``exec``, ``run`` and ``build``.
"""

from __future__ import annotations

import argparse
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
import time
from pathlib import Path
from typing import Any

import psutil

from tests.docker import serving_image
from tests.docker.compose_file import (
    ADDRESS,
    POSTGRES_PORT,
    dependencies,
    image_environment,
    listening_ports,
    services,
    substitute,
)
from tests.postgres import system_programs, unprivileged

HERE = Path(__file__).parents[2]
SCRIPTS = Path(sysconfig.get_path("scripts"))
#: The programs of images that are not ours, which their commands are given to.
PROGRAMS = {"store": "weed", "prometheus": "prometheus", "grafana": "grafana"}
#: Seconds that a service has to end, and that one has to become healthy.
TO_END, TO_START = 30, 180


class Failed(Exception):
    """A service ended, did not become healthy, or a command failed."""


def postgres_programs() -> Path | None:
    """The folder of a PostgreSQL that has pg_trgm, which Prefect's tables need and a wheel's server lacks."""
    for folder in system_programs():
        if (folder / "pg_config").is_file():
            shared = subprocess.run([folder / "pg_config", "--sharedir"], capture_output=True, text=True, check=True)
            if Path(shared.stdout.strip(), "extension", "pg_trgm.control").is_file():
                return folder
    return None


def _free_port() -> int:
    """A free port whose number plus 10,000 is free too: SeaweedFS listens on both."""
    while True:
        port = 20_000 + secrets.randbelow(25_000)
        try:
            for one in (port, port + 10_000):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", one))
        except OSError:
            continue
        return port


class Stack:
    """The services of a project's docker/compose.yaml.

    Args:
        folder: holds everything: volumes, logs, secrets of the project are in ``folder / "project"``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = folder / "project"
        self.docker = self.source / "docker"
        self.services = services(self.docker / "compose.yaml")
        found = postgres_programs()
        assert found, "no PostgreSQL"
        self.programs = found
        self.unprivileged = unprivileged()
        self.state_file = folder / "stack.json"
        if not self.state_file.exists():
            every = sorted({port for service in self.services.values() for port in listening_ports(service)})
            self._write({"ports": {str(port): _free_port() for port in every}, "processes": {}})
            self._install()
        self.ports = {int(port): here for port, here in self._state()["ports"].items()}

    # What the images hold.

    def _install(self) -> None:
        """Put the files where the Dockerfile and compose.yaml put them, with this machine's folders in them."""
        self.ports = {int(port): here for port, here in self._state()["ports"].items()}
        for folder in ("bin", "opt", "home", "headway", "serve", "store", "prometheus"):
            (self.folder / folder).mkdir()
        self._copy(self.docker / "with-secrets.sh", "bin/with-secrets")
        self._copy(self.docker / "servers" / "mlflow-server.sh", "bin/mlflow-server")
        self._copy(self.docker / "project.sh", "bin/project")
        for file in [*(self.docker / "servers").iterdir(), self.source / "flows" / "server_process.py"]:
            self._copy(file, f"opt/{file.name}")
        self._copy(self.docker / "postgres" / "create-databases.sql", "opt/create-databases.sql")
        scrape = self._copy(self.docker / "prometheus" / "prometheus.yml", "opt/prometheus.yml")
        scrape.write_text(re.sub(r"serve:(\d+)", lambda found: f"127.0.0.1:{self.ports[int(found[1])]}", scrape.read_text()))
        for name in ("params.yaml", "dvc.yaml"):
            shutil.copy(self.source / name, self.folder / "serve")
        serving_image.link_into(self.folder / "packages")
        for volume in map(self.translate, self.services["worker"]["volumes"]):
            source, target, *_ = volume.split(":")
            if source.startswith("."):
                shutil.copytree(self.docker / source, target)
        shim = self.folder / "bin" / "docker"
        shim.write_text(f'#!/bin/sh\nPYTHONPATH={HERE} exec {sys.executable} -P -m tests.docker.stack {self.folder} "$@"\n')
        shim.chmod(0o755)

    def _copy(self, source: Path, target: str) -> Path:
        path = self.folder / target
        path.write_text(self._placed(source.read_text()))
        path.chmod(source.stat().st_mode)
        return path

    def translate(self, text: str) -> str:
        """A word of compose.yaml, or of a command, with hosts, ports and folders replaced by this machine's."""
        return self._placed(substitute(text, {}))

    def _placed(self, text: str) -> str:
        text = ADDRESS.sub(lambda found: f"127.0.0.1:{self.ports[int(found['port'])]}", text)
        text = re.sub(r"^(-[\w.-]*port=)?(\d+)$", self._port, text)
        text = re.sub(r"=0\.0\.0\.0:(\d+)$", lambda found: f"=127.0.0.1:{self.ports[int(found[1])]}", text)
        text = re.sub(r"(?<==)0\.0\.0\.0$", "127.0.0.1", text)
        places = {
            "/run/secrets": self.docker / "secrets",
            "/opt/servers": self.folder / "opt",
            "/opt/headway": self.source,
            "/home/headway": self.folder / "home",
            "/headway": self.folder / "headway",
            "/data": self.folder / "store",
            "/etc/prometheus": self.folder / "opt",
            "/prometheus": self.folder / "prometheus",
        }
        pattern = "|".join(map(re.escape, places))
        return re.sub(rf"(?<![\w./*]){'(' + pattern + ')'}(?![\w-])", lambda found: str(places[found[1]]), text)

    def _port(self, found: re.Match[str]) -> str:
        return f"{found[1] or ''}{self.ports.get(int(found[2]), found[2])}"

    def environment(self, name: str) -> dict[str, str]:
        """What compose.yaml and the image give the service's programs."""
        own = {key: self.translate(str(value)) for key, value in self.services[name].get("environment", {}).items()}
        paths = [self.folder / "bin", SCRIPTS, self.programs, os.defpath]
        common = {"PATH": os.pathsep.join(map(str, paths)), "HOME": str(self.folder / "home"), "LANG": "C.UTF-8"}
        if name == "postgres":
            common |= {"PGHOST": str(self.folder / "postgres"), "PGPORT": str(self.ports[POSTGRES_PORT])}
        # A worker asks for work every ten seconds; a test need not wait so long.
        quick = {"PREFECT_WORKER_QUERY_SECONDS": "2"}
        if name == "serve":
            quick["PYTHONPATH"] = f"{self.folder / 'packages'}{os.pathsep}{HERE / 'src'}"
        return quick | image_environment() | common | own

    def command(self, name: str, *words: str) -> list[str]:
        """The command of a new container of the service: its own, or these words."""
        prefix = [PROGRAMS[name]] if name in PROGRAMS else ["with-secrets"]
        command = [self.translate(word) for word in words or self.services[name].get("command", [])]
        if name == "serve":  # with the packages of its image alone
            command = [sys.executable, "-S", "-m", "headway.cli", *command[command[0] == "headway" :]]
        command = [*prefix, *command]
        program = shutil.which(command[0], path=self.environment(name)["PATH"])
        if not program:
            raise Failed(f"{command[0]} is not installed")
        return [program, *command[1:]]

    def working_folder(self, name: str) -> Path:
        return self.folder / {"worker": "headway", "serve": "serve"}.get(name, "home")

    # What runs.

    def _state(self) -> dict[str, Any]:
        return json.loads(self.state_file.read_text())

    def _write(self, state: dict[str, Any]) -> None:
        self.state_file.write_text(json.dumps(state))

    def process(self, name: str) -> psutil.Process | None:
        """The service's process, None if it does not run."""
        pid = self._state()["processes"].get(name)
        try:
            found = psutil.Process(pid) if pid else None
            return found if found and found.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def tail(self, name: str) -> str:
        return "\n".join(self.log(name).read_text(errors="replace").splitlines()[-40:])

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[listening_ports(self.services[name])[0]]}"

    def secret(self, name: str) -> str:
        return (self.docker / "secrets" / name).read_text().splitlines()[0]

    def start(self, name: str) -> None:
        if name == "postgres":
            self._start_postgres()
        elif self.services[name]["restart"] == "no":
            done = subprocess.run(
                self.command(name), env=self.environment(name), capture_output=True, text=True, timeout=120, check=False
            )
            self.log(name).write_text(done.stdout + done.stderr)
            if done.returncode != 0:
                raise Failed(f"{name} ended with status {done.returncode}:\n{self.tail(name)}")
        else:
            self._spawn(name, self.command(name), env=self.environment(name), cwd=self.working_folder(name))

    def _spawn(self, name: str, command: list[str], **options: Any) -> None:
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True, **options
            )
        state = self._state()
        state["processes"][name] = process.pid
        self._write(state)

    def _start_postgres(self) -> None:
        """What the official image's entry point does: a cluster with a password, the init scripts, then the server."""
        cluster = self.folder / "postgres"
        is_new = not cluster.exists()
        if is_new:
            cluster.mkdir()
            key = self.folder / "password"
            shutil.copy(self.docker / "secrets" / "postgres", key)
            if self.unprivileged:
                for path in (cluster, key):
                    os.chown(path, self.unprivileged["user"], self.unprivileged["group"])
            how = ["--username=postgres", "--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8"]
            how += ["--locale=C.UTF-8", "--no-sync", f"--pwfile={key}", f"--pgdata={cluster}"]
            self._run([self.programs / "initdb", *how], cwd=self.folder, **self.unprivileged)
        where = ["-D", str(cluster), "-k", str(cluster), "-h", "127.0.0.1", "-p", str(self.ports[POSTGRES_PORT])]
        server = [str(self.programs / "postgres"), *where, "-c", "fsync=off"]
        self._spawn("postgres", server, cwd=self.folder, **self.unprivileged)
        if is_new:
            self.wait_until_healthy("postgres")
            script = self.folder / "opt" / "create-databases.sql"
            options = [
                "--no-psqlrc",
                "--set=ON_ERROR_STOP=1",
                "--username=postgres",
                "--dbname=postgres",
                f"--file={script}",
            ]
            self._run([self.programs / "psql", *options], env=self.environment("postgres"))

    def _run(self, command: list[Any], **options: Any) -> None:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)
        if done.returncode != 0:
            raise Failed(done.stdout + done.stderr)

    def wait_until_healthy(self, name: str, seconds: float = TO_START) -> None:
        """Run the service's own health check until it succeeds."""
        check = [self.translate(word) for word in self.services[name]["healthcheck"]["test"][1:]]
        environment = self.environment(name)
        program = shutil.which(check[0], path=environment["PATH"])
        if not program:
            raise Failed(f"{check[0]}: the health check of {name} is not a program here")
        deadline = time.monotonic() + seconds
        answer = "nothing"
        while time.monotonic() < deadline:
            if self.process(name) is None:
                raise Failed(f"{name} ended:\n{self.tail(name)}")
            done = subprocess.run(
                [program, *check[1:]], env=environment, capture_output=True, text=True, timeout=20, check=False
            )
            if done.returncode == 0:
                return
            answer = (done.stdout + done.stderr).strip().rpartition("\n")[2]
            time.sleep(0.5)
        raise Failed(f"{name} is not healthy after {seconds:.0f} s; its check says: {answer}\n{self.tail(name)}")

    def up(self, names: list[str], profiles: list[str]) -> None:
        """Start services that do not run, after those that they depend on, as compose does, and wait until all are healthy."""
        chosen = names or [
            name for name, service in self.services.items() if set(service.get("profiles", profiles)) <= set(profiles)
        ]
        wanted = set(chosen).union(*(dependencies(name, self.services) for name in chosen))
        wanted -= {name for name in wanted if not self.is_installed(name)}
        for name in sorted(wanted, key=lambda name: len(dependencies(name, self.services))):
            for other in dependencies(name, self.services) & wanted:
                if "healthcheck" in self.services[other]:
                    self.wait_until_healthy(other)
            if self.process(name) is None:
                self.start(name)
        for name in wanted:
            if "healthcheck" in self.services[name]:
                self.wait_until_healthy(name)

    def is_installed(self, name: str) -> bool:
        """Whether this machine has the service's program; only Prometheus and Grafana may be missing."""
        return PROGRAMS.get(name) not in ("prometheus", "grafana") or bool(shutil.which(PROGRAMS[name]))

    def stop(self, names: list[str]) -> None:
        """End services as compose does: SIGTERM, or SIGINT for Postgres, then SIGKILL."""
        running = {name: process for name in names if (process := self.process(name))}
        families = [one for process in running.values() for one in (process, *process.children(recursive=True))]
        for name, process in running.items():
            process.send_signal(signal.SIGINT if name == "postgres" else signal.SIGTERM)
        _, alive = psutil.wait_procs(families, timeout=TO_END)
        for one in alive:
            one.kill()
        psutil.wait_procs(alive, timeout=TO_END)

    def down(self) -> None:
        """End all services, the database and the store last."""
        last = ["postgres", "store"]
        self.stop([name for name in self._state()["processes"] if name not in last])
        self.stop(last)

    # The program `docker`.

    def docker_program(self, arguments: list[str]) -> int:
        """``docker compose …``; returns the exit status."""
        parser = argparse.ArgumentParser(prog="docker")
        parser.add_argument("compose", choices=["compose"])
        parser.add_argument("--file", "-f", required=True, type=Path)
        parser.add_argument("--profile", action="append", default=[])
        verbs = parser.add_subparsers(dest="verb", required=True)
        up = verbs.add_parser("up")
        up.add_argument("--detach", action="store_true", required=True)
        up.add_argument("--wait", action="store_true", required=True)
        up.add_argument("services", nargs="*")
        for verb in ("stop", "build"):
            verbs.add_parser(verb).add_argument("services", nargs="*")
        for verb in ("exec", "run"):
            one = verbs.add_parser(verb)
            one.add_argument("-T", action="store_true")
            if verb == "run":
                one.add_argument("--rm", action="store_true", required=True)
                one.add_argument("--no-deps", action="store_true")
            one.add_argument("service")
            one.add_argument("words", nargs=argparse.REMAINDER)
        options = parser.parse_args(arguments)
        if not options.file.resolve().samefile(self.docker / "compose.yaml"):
            parser.error(f"{options.file}: not the stack's")
        if options.verb == "up":
            self.up(options.services, options.profile)
        elif options.verb == "stop":
            self.stop(options.services)
        elif options.verb in ("exec", "run"):
            name = options.service
            if options.verb == "exec" and self.process(name) is None:
                parser.error(f"{name} does not run")
            environment = self.environment(name)
            words = self.command(name, *options.words) if options.verb == "run" else [*map(self.translate, options.words)]
            program = shutil.which(words[0], path=environment["PATH"])
            if not program:
                parser.error(f"{words[0]} is not installed")
            os.chdir(self.working_folder(name))
            os.execve(program, words, environment)
        return 0


def main() -> None:
    """Be the program `docker` of the stack in a folder."""
    try:
        sys.exit(Stack(Path(sys.argv[1])).docker_program(sys.argv[2:]))
    except Failed as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
