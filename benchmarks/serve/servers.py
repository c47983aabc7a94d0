"""Servers of one model: ours, MLflow's and LitServe, each in processes of its own on a free port of the loopback address."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from benchmarks.serve.load import HOST, requests_of
from benchmarks.serve.memory import megabytes

SECONDS_TO_START, SECONDS_TO_END = 180.0, 30.0
#: Serves a package with LitServe, with the batches that its documentation recommends for throughput.
LITSERVE = """
import sys
from pathlib import Path
import litserve
from headway.serving.package import ModelPackage

class Api(litserve.LitAPI):
    def setup(self, device):
        self.package = ModelPackage.load(Path(sys.argv[1]))

    def decode_request(self, request):
        return request["text"]

    def batch(self, inputs):
        return list(inputs)

    def predict(self, texts):
        return self.package.predict_proba(texts)

    def unbatch(self, output):
        return output

    def encode_response(self, output):
        best = int(output.argmax())
        return {"label": self.package.classes[best], "probability": float(output[best])}

if __name__ == "__main__":
    server = litserve.LitServer(Api(max_batch_size=32, batch_timeout=0.005), accelerator="cpu", devices=1, workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False)
"""


class Running(NamedTuple):
    """A server that is ready.

    Attributes:
        seconds_to_ready: since its process was started.
    """

    kind: Kind
    port: int
    process: psutil.Process
    seconds_to_ready: float

    def requests(self, texts: Sequence[str]) -> list[bytes]:
        """A request for each text."""
        return requests_of(self.kind.path, map(self.kind.body, texts), self.port)

    def megabytes(self) -> float:
        """Resident memory of all of its processes."""
        return megabytes(self.process.pid)


@dataclass(frozen=True)
class Kind:
    """How a server is started and asked.

    Attributes:
        command: arguments, given the port.
        ready: path that answers 200 when it is ready.
        path, body: of a request for one text.
    """

    name: str
    command: Callable[[int], Sequence[str]]
    ready: str
    path: str
    body: Callable[[str], Mapping[str, Any]]


def headway(where: str, *options: str) -> Kind:
    """Our server of a package's folder, or of an alias."""
    return Kind(
        "headway serve",
        lambda port: [sys.executable, "-m", "headway.cli", "serve", "--model", where, "--port", str(port), *options],
        "/readyz",
        "/predict",
        lambda text: {"text": text},
    )


def mlflow(package: Path, folder: Path) -> Kind:
    """MLflow's server of the same package as a pyfunc model, which is written into a new folder."""
    import mlflow.pyfunc

    from headway.registry.packages import signature
    from headway.serving.package import ModelPackage

    classes = ModelPackage.load(package).classes
    mlflow.pyfunc.save_model(
        str(folder),
        loader_module="headway.serving.pyfunc",
        data_path=str(package),
        signature=signature(classes),
        pip_requirements=[],
    )
    return Kind(
        "mlflow models serve",
        lambda port: [
            *(sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(folder)),
            *("--env-manager", "local", "--host", HOST, "--port", str(port)),
        ],
        "/ping",
        "/invocations",
        lambda text: {"dataframe_records": [{"text": text}]},
    )


def litserve(package: Path, folder: Path) -> Kind:
    """LitServe with the same package; its program is written into a folder."""
    program = folder / "litserve_api.py"
    program.write_text(LITSERVE)
    return Kind(
        "LitServe",
        lambda port: [sys.executable, str(program), str(package), str(port)],
        "/health",
        "/predict",
        lambda text: {"text": text},
    )


@contextmanager
def running(kind: Kind, folder: Path) -> Iterator[Running]:
    """Start a server in a folder, where it writes a log, and end all of its processes with the block.

    Exits the benchmark with the end of that log if the server does not start.
    """
    port, log = free_port(), folder / f"{kind.name.replace(' ', '-')}.log"
    bin_folder = str(Path(sys.executable).parent)  # MLflow starts uvicorn by its name
    environment = {**os.environ, "PATH": bin_folder + os.pathsep + os.environ.get("PATH", "")}
    with log.open("wb") as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            kind.command(port), cwd=folder, env=environment, stdout=output, stderr=output, start_new_session=True
        )
        try:
            while not answers(port, kind.ready):
                if process.poll() is not None or time.perf_counter() > started + SECONDS_TO_START:
                    sys.exit(f"{kind.name} did not start: {log.read_text(errors='replace')[-2000:]}")
                time.sleep(0.02)
            yield Running(kind, port, psutil.Process(process.pid), time.perf_counter() - started)
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and those of its group, first by SIGTERM."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(SECONDS_TO_END)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def answers(port: int, path: str) -> bool:
    """Whether a server answers with 200."""
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
