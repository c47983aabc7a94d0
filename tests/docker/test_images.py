"""The Dockerfile, what goes into its images, their size, and their bills of materials."""

from __future__ import annotations

import fnmatch
import importlib.metadata
import json
import re
import subprocess
import sysconfig
from pathlib import Path

import pytest

from headway.environment import VARIABLES
from tests.docker import serving_image
from tests.docker.compose_file import DOCKERFILE, ROOT, image_environment, services, stages, substitute, yaml
from tests.docker.serving_image import locked

SCRIPTS = Path(sysconfig.get_path("scripts"))
#: Bytes of the largest serving image, and of python:3.11-slim-bookworm with wget, in it: generously rounded up.
MAX_SERVE, BASE = 10**9, 140 * 10**6


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    done = subprocess.run([SCRIPTS / "hadolint", "--no-color", DOCKERFILE], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_image_starts_from_one_exact_python_and_ends_as_an_ordinary_user() -> None:
    text = DOCKERFILE.read_text()
    sources = re.findall(r"^FROM (\S+) AS \S+$", text, re.MULTILINE)
    assert [source for source in sources if not re.fullmatch(r"base|torch-\$\{TORCH\}", source)] == [sources[0]]
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", sources[0])
    created = re.search(r"useradd --uid (\d+)", text)
    assert created
    for service in services().values():
        if "build" in service:
            assert re.findall(r"^USER (.*)$", stages()[service["build"]["target"]], re.MULTILINE) == [created[1]]


def test_torch_is_the_locked_version_in_the_build_that_the_argument_names() -> None:
    text = DOCKERFILE.read_text()
    assert "\nARG TORCH=cpu\n" in text
    cpu, cuda = stages()["torch-cpu"], stages()["torch-cuda"]
    assert "https://download.pytorch.org/whl/cpu" in cpu
    assert 'endswith("+cpu")' in cpu
    assert "index-url" not in cuda
    assert locked("serve")["torch"] == locked("worker")["torch"]


@pytest.mark.parametrize("name", ["servers", "worker", "serve"])
def test_the_locks_have_the_versions_that_the_tests_run_with(name: str) -> None:
    differing = {one: version for one, version in locked(name).items() if not _is_installed(one, version)}
    assert differing == {}
    assert not {one for one in locked(name) if one.startswith(("nvidia", "triton", "cuda"))}


def _is_installed(name: str, version: str) -> bool:
    return importlib.metadata.version(name).partition("+")[0] == version.removeprefix("==")


def test_the_serving_image_has_the_serving_extra_and_s3_alone() -> None:
    assert not {"mlflow", "prefect", "dvc", "pytorch-lightning", "scikit-learn", "matplotlib"} & locked("serve").keys()
    assert {"torch", "fastapi", "s3fs", "ruamel-yaml"} <= locked("serve").keys()


def test_the_serving_image_with_the_cpu_build_of_pytorch_has_less_than_a_gigabyte() -> None:
    """By the sizes of the installed files, less what the Dockerfile removes."""
    if not importlib.metadata.version("torch").endswith("+cpu"):
        pytest.skip("this environment has the CUDA build of PyTorch")
    assert serving_image.size() + BASE < MAX_SERVE


@pytest.mark.parametrize("name", ["servers", "worker", "serve"])
def test_a_bill_of_materials_names_every_package_of_an_image(name: str, tmp_path: Path) -> None:
    recipe = subprocess.run(["make", "--dry-run", "sbom"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = re.search(r"cyclonedx-py (.*?) \|\|", recipe.replace("\\\n", " "), re.DOTALL)
    assert found
    options = found[1].replace("$image", name).split()
    options[options.index("--output-file") + 1] = str(tmp_path / "bill.json")
    done = subprocess.run([SCRIPTS / "cyclonedx-py", *options], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    bill = json.loads((tmp_path / "bill.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    components = {one["name"]: one["version"] for one in bill["components"]}
    assert components.items() >= {one: version.removeprefix("==") for one, version in locked(name).items()}.items()
    assert bill["metadata"]["component"]["name"] == "headway"


def test_an_image_installs_its_lock_before_the_source_is_copied() -> None:
    text = DOCKERFILE.read_text()
    for steps in (
        ["COPY docker/locks/serve.lock", "--requirement serve.lock", "COPY src"],
        ["COPY docker/locks/worker.lock", "--requirement worker.lock", "COPY --chown=headway:headway . /opt/headway"],
    ):
        places = [text.index(step) for step in steps]
        assert places == sorted(places)


def test_the_makefile_finds_everything_installed_in_the_worker() -> None:
    settings = dict(re.findall(r"^(\w+) := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert settings["INSTALLED"].replace("$(VENV)", settings["VENV"]) == ".venv/installed"
    assert "touch /opt/venv/installed" in stages()["worker"]
    assert "ln -s /opt/venv /opt/headway/.venv" in stages()["worker"]
    assert image_environment()["PATH"].startswith("/opt/venv/bin:")


def test_the_images_set_every_switch_that_the_command_line_sets() -> None:
    assert VARIABLES.items() <= image_environment().items()


def test_an_image_has_a_folder_of_its_users_for_every_named_volume() -> None:
    """Folders on which others are mounted below a volume too: an engine makes missing ones as root."""
    text = DOCKERFILE.read_text().replace("\\\n", " ")
    made = {
        path
        for found in re.findall(r"install --directory --owner=headway --group=headway ([^&\n]*)", text)
        for path in found.split()
    }
    for name, service in services().items():
        if service["image"].startswith("headway-"):
            mounts = [substitute(volume, {}).split(":")[:2] for volume in service.get("volumes", [])]
            named = [target for source, target in mounts if not source.startswith(".")]
            below = [target for _, target in mounts if any(target.startswith(f"{volume}/") for volume in named)]
            assert {*named, *below} <= made, name


def test_the_worker_writes_only_where_it_may() -> None:
    worker = services()["worker"]
    volumes = [volume.split(":")[1] for volume in worker["volumes"] if volume.startswith("project:")]
    for name in ("DVC_SITE_CACHE_DIR", "PREFECT_HOME"):
        writable = [*volumes, *(one.partition(":")[0] for one in worker["tmpfs"])]
        assert any(worker["environment"][name].startswith(f"{folder}/") for folder in writable), name
    assert "/home/headway:uid=1000,gid=1000,mode=700" in worker["tmpfs"]


def test_every_file_that_the_dockerfile_copies_is_there() -> None:
    for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE.read_text(), re.MULTILINE):
        for source in [word for word in line.split() if not word.startswith("--")][:-1]:
            assert (ROOT / source).exists(), source


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
    private = ["docker/.env", "docker/secrets/store", ".git/config", ".dvc/config.local"]
    private += ["data/input/reviews.csv", "data/corrections/list.csv", "label_errors.csv", "data/vectors/glove.txt"]
    private += ["data/encoders/organisation/tiny/config.json"]
    own = [".venv/bin/python", "src/headway/__pycache__/cli.cpython-311.pyc", ".headway/study", "mlruns/mlflow.db"]
    assert [path for path in [*outs, *private, *own, ".dvc/cache/files"] if not left_out(path)] == []
