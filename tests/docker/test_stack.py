"""The services of compose.yaml, run natively with their own commands, settings, secrets and health checks, on a real Postgres and
the real S3 store."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pytest
import requests
import s3fs
from botocore.client import Config
from botocore.exceptions import ClientError

import headway
from headway.errors import HeadwayError, Unreachable
from headway.promotion import history
from headway.promotion.champion import commit, reconcile
from headway.promotion.rollback import roll_back
from headway.registry.client_source import ClientSource
from headway.registry.registry import Registry, ref_of
from headway.registry.rest_source import RestSource
from headway.serving.log.store import PartStore
from headway.serving.package import ModelPackage
from headway.tracking import Tracker
from tests.conftest import new_project
from tests.docker.compose_file import POSTGRES_PORT
from tests.docker.stack import Failed, Stack
from tests.promotion.conftest import REQUESTER, Stock, decision_content

pytestmark = pytest.mark.e2e

PROBE = """
import mlflow
from prefect import flow

@flow
def probe():
    mlflow.set_experiment("probe")
    with mlflow.start_run():
        mlflow.log_metric("answer", 42)
        mlflow.log_text("made on the worker", "note.txt")
"""


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


def basic(user_and_password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(user_and_password.encode()).decode()}"}


def mlflow(stack: Stack, account: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    """Status and answer of MLflow's API, asked by an account."""
    return call(f"{stack.url('mlflow')}/api/2.0/{path}", body, basic(f"{account}:{stack.secret(f'mlflow_{account}')}"))


def prefect(stack: Stack, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    """Status and answer of Prefect's API, asked with its password."""
    return call(f"{stack.url('prefect')}/api/{path}", body, basic(stack.secret("prefect_login")))


def s3(stack: Stack, key: str) -> Any:
    """A client of the store with the key in a secret."""
    lines = (stack.docker / "secrets" / key).read_text().splitlines()[1:]
    name, secret = (line.partition(" = ")[2] for line in lines)
    return boto3.client(
        "s3",
        endpoint_url=stack.url("store"),
        aws_access_key_id=name,
        aws_secret_access_key=secret,
        region_name="us-east-1",
        config=Config(proxies={}),
    )


def refusal(attempt: Any, **arguments: Any) -> str:
    with pytest.raises(ClientError) as caught:
        attempt(**arguments)
    return str(caught.value.response["Error"]["Code"])


def test_the_worker_makes_its_pool_and_is_online_in_it(stack: Stack) -> None:
    deadline = time.monotonic() + 40
    workers: list[dict[str, Any]] = []
    while not workers and time.monotonic() < deadline:
        status, answer = prefect(stack, "work_pools/headway/workers/filter", {})
        workers = answer if status == 200 else []
        time.sleep(0.5)
    assert [worker["status"] for worker in workers] == ["ONLINE"], stack.tail("worker")
    _, pool = prefect(stack, "work_pools/headway")
    assert pool["type"] == "process"


def test_a_flow_run_lands_on_the_worker_and_its_artifacts_in_the_bucket(stack: Stack) -> None:
    (stack.folder / "probe.py").write_text(PROBE)
    _, flow = prefect(stack, "flows/", {"name": "probe"})
    here = {"prefect.deployments.steps.set_working_directory": {"directory": str(stack.folder)}}
    deployment = {"name": "probe", "flow_id": flow["id"], "work_pool_name": "headway", "entrypoint": "probe.py:probe"}
    status, deployment = prefect(stack, "deployments/", deployment | {"pull_steps": [here]})
    assert status < 300, deployment
    _, run = prefect(stack, f"deployments/{deployment['id']}/create_flow_run", {"state": {"type": "SCHEDULED"}})
    deadline = time.monotonic() + 90
    while run["state"]["type"] in ("SCHEDULED", "PENDING", "RUNNING") and time.monotonic() < deadline:
        time.sleep(0.5)
        _, run = prefect(stack, f"flow_runs/{run['id']}")
    assert run["state"]["type"] == "COMPLETED", f"{run['state']}\n{stack.tail('worker')}"

    _, made = mlflow(stack, "worker", "mlflow/experiments/get-by-name?experiment_name=probe")
    ids = [made["experiment"]["experiment_id"]]
    (logged,) = mlflow(stack, "worker", "mlflow/runs/search", {"experiment_ids": ids})[1]["runs"]
    assert [metric["value"] for metric in logged["data"]["metrics"]] == [42]
    path = logged["info"]["artifact_uri"].removeprefix("mlflow-artifacts:/") + "/note.txt"
    kept = s3(stack, "store_owner").get_object(Bucket="mlflow", Key=f"artifacts/{path}")
    assert kept["Body"].read() == b"made on the worker"
    assert mlflow(stack, "serve", f"mlflow-artifacts/artifacts/{path}") == (200, "made on the worker")


def test_before_the_first_version_there_is_no_champion_and_access_is_not_refused(
    stack: Stack, stock: Stock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow with a login answers 403 if a version of a missing model is asked for."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", stack.url("mlflow"))
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "worker")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", stack.secret("mlflow_worker"))
    registry = Registry(Tracker(stock.params, new_project(tmp_path / "project")))
    assert registry.champion() is None
    assert registry.version("1") is None
    for source in (RestSource, ClientSource):
        with pytest.raises(HeadwayError, match="model missing has no champion"):
            source(stack.url("mlflow"), "missing", "champion").newest()


def test_versions_are_registered_judged_restored_and_loaded_with_the_workers_account(
    stack: Stack, stock: Stock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", stack.url("mlflow"))
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "worker")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", stack.secret("mlflow_worker"))
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
    # Through the server: the store's own address is known in its network only.
    assert "/mlflow-artifacts/presigned/" not in stack.log("mlflow").read_text()


def test_artifacts_outlive_an_account_that_would_delete_them(stack: Stack) -> None:
    """MLflow lets an account delete the artifacts of its own runs, and even says that it has; its key in the store does not."""
    _, made = mlflow(stack, "worker", "mlflow/experiments/create", {"name": "artifacts"})
    _, run = mlflow(stack, "worker", "mlflow/runs/create", {"experiment_id": made["experiment_id"]})
    path = run["run"]["info"]["artifact_uri"].removeprefix("mlflow-artifacts:/")
    url = f"{stack.url('mlflow')}/api/2.0/mlflow-artifacts/artifacts/{path}"
    account = ("worker", stack.secret("mlflow_worker"))
    assert requests.put(f"{url}/kept.txt", data=b"kept", auth=account, timeout=20).ok
    requests.delete(f"{url}/kept.txt", auth=account, timeout=20)
    assert requests.get(f"{url}/kept.txt", auth=account, timeout=20).content == b"kept"


@pytest.mark.parametrize(
    ("host", "status"), [("mlflow:5000", 200), ("localhost:5001", 200), ("127.0.0.1:5001", 200), ("elsewhere.example", 403)]
)
def test_mlflow_answers_the_worker_and_the_browser_and_no_foreign_host(stack: Stack, host: str, status: int) -> None:
    headers = {"Host": host, **basic(f"admin:{stack.secret('mlflow_admin')}")}
    assert call(stack.url("mlflow") + "/api/2.0/mlflow/experiments/get?experiment_id=0", headers=headers)[0] == status


def test_the_services_account_in_mlflow_reads_and_changes_nothing(stack: Stack) -> None:
    _, made = mlflow(stack, "worker", "mlflow/experiments/create", {"name": "the worker's"})
    experiment = made["experiment_id"]
    assert mlflow(stack, "serve", f"mlflow/experiments/get?experiment_id={experiment}")[0] == 200
    assert mlflow(stack, "serve", "mlflow/runs/create", {"experiment_id": experiment})[0] == 403
    assert mlflow(stack, "serve", "mlflow/experiments/delete", {"experiment_id": experiment})[0] == 403
    assert mlflow(stack, "worker", "mlflow/runs/create", {"experiment_id": experiment})[0] == 200
    assert mlflow(stack, "serve", "mlflow/users/create", {"username": "more", "password": "long enough, too"})[0] == 403


def test_without_a_login_mlflow_tells_nothing_and_clients_say_which_variables_to_set(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(stack.url("mlflow") + "/api/2.0/mlflow/experiments/get?experiment_id=0")[0] == 401
    with pytest.raises(Unreachable, match="status 401; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"):
        RestSource(stack.url("mlflow"), "headway", "champion").newest()
    layout = new_project(tmp_path / "project")
    for password in ("", "wrong"):
        environment = {**stack.environment("worker"), "MLFLOW_TRACKING_PASSWORD": password} if password else {}
        environment |= {"PATH": stack.environment("worker")["PATH"], "MLFLOW_TRACKING_URI": stack.url("mlflow")}
        done = subprocess.run(
            [sys.executable, "-m", "headway.cli", "history"],
            cwd=layout.root,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert "the server asks for a user and a password" in line
        assert "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in line


def test_prefect_takes_nothing_without_its_password_and_tells_no_other_page_anything(stack: Stack) -> None:
    url = stack.url("prefect")
    assert call(f"{url}/api/flows/", {"name": "planted"})[0] == 401
    answer = requests.get(f"{url}/api/health", headers={"Origin": "http://evil.example"}, timeout=20)
    assert "access-control-allow-origin" not in answer.headers
    answer = requests.get(f"{url}/api/health", headers={"Origin": url}, timeout=20)
    assert answer.headers["access-control-allow-origin"] == url


@pytest.mark.parametrize(("host", "status"), [("prefect:4200", 200), ("127.0.0.1:4200", 200), ("evil.example", 400)])
def test_prefect_answers_the_worker_and_the_browser_and_no_foreign_host(stack: Stack, host: str, status: int) -> None:
    assert call(f"{stack.url('prefect')}/api/health", headers={"Host": host})[0] == status


def test_prefects_leases_are_on_a_volume(stack: Stack) -> None:
    """So that a crash of the container leaves no concurrency slot taken."""
    _, settings = prefect(stack, "admin/settings")
    assert settings["server"]["concurrency"]["lease_storage"].endswith(".filesystem")
    mounted = [volume.split(":")[1] for volume in stack.services["prefect"]["volumes"]]
    assert settings["home"] in map(stack.translate, mounted)


def test_both_user_interfaces_are_served_and_prefects_knows_its_api(stack: Stack) -> None:
    admin = basic(f"admin:{stack.secret('mlflow_admin')}")
    for name, headers in (("mlflow", admin), ("prefect", {})):
        status, page = call(stack.url(name) + "/", headers={"Accept": "text/html", **headers})
        assert status == 200
        assert "<html" in page
    _, settings = call(stack.url("prefect") + "/ui-settings")
    assert settings["api_url"] == stack.url("prefect") + "/api"


def psql(stack: Stack, user: str, password: str, database: str, command: str) -> subprocess.CompletedProcess[str]:
    place = ["--host=127.0.0.1", f"--port={stack.ports[POSTGRES_PORT]}", f"--username={user}", f"--dbname={database}"]
    return subprocess.run(
        [stack.programs / "psql", *place, "--no-psqlrc", f"--command={command}"],
        env={"PGPASSWORD": password},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("user", "own", "table", "other"),
    [("mlflow", "mlflow", "experiments", "prefect"), ("prefect", "prefect", "flow_run", "mlflow")],
)
def test_a_database_user_reads_its_own_tables_and_can_connect_to_no_other_database(
    stack: Stack, user: str, own: str, table: str, other: str
) -> None:
    password = stack.secret(f"{user}_database")
    assert psql(stack, user, password, own, f"SELECT 1 FROM {table} LIMIT 1").returncode == 0
    for database in (other, "postgres"):
        assert "permission denied" in psql(stack, user, password, database, "SELECT 1").stderr
    assert "permission denied to create role" in psql(stack, user, password, own, "CREATE ROLE more").stderr


@pytest.mark.parametrize(
    ("key", "bucket", "other"), [("mlflow_key", "mlflow", "predictions"), ("log_key", "predictions", "mlflow")]
)
def test_a_services_key_writes_and_reads_its_bucket_and_deletes_nothing(
    stack: Stack, key: str, bucket: str, other: str
) -> None:
    client = s3(stack, key)
    client.put_object(Bucket=bucket, Key="kept", Body=b"x" * 6_000_000)
    upload = client.create_multipart_upload(Bucket=bucket, Key="large")["UploadId"]
    part = client.upload_part(Bucket=bucket, Key="large", UploadId=upload, PartNumber=1, Body=b"x" * 6_000_000)
    parts = {"Parts": [{"ETag": part["ETag"], "PartNumber": 1}]}
    client.complete_multipart_upload(Bucket=bucket, Key="large", UploadId=upload, MultipartUpload=parts)
    assert refusal(client.delete_object, Bucket=bucket, Key="kept") == "AccessDenied"
    several = client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "kept"}, {"Key": "large"}]})
    assert [error["Code"] for error in several["Errors"]] == ["AccessDenied", "AccessDenied"]
    assert refusal(client.delete_bucket, Bucket=bucket) == "AccessDenied"
    rule = {"ID": "all", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}
    policy = client.put_bucket_lifecycle_configuration
    assert refusal(policy, Bucket=bucket, LifecycleConfiguration={"Rules": [rule]}) == "AccessDenied"
    assert refusal(client.put_bucket_policy, Bucket=bucket, Policy="{}") == "AccessDenied"
    assert client.get_object(Bucket=bucket, Key="large")["ContentLength"] == 6_000_000
    assert refusal(client.put_object, Bucket=other, Key="foreign", Body=b"") == "AccessDenied"
    assert refusal(client.get_object, Bucket=other, Key="foreign") == "AccessDenied"
    assert refusal(client.list_objects_v2, Bucket=other) == "AccessDenied"


def test_the_set_up_refuses_a_key_that_can_delete(stack: Stack) -> None:
    """So that a store that reads the policies in another way is noticed where it runs, before anything depends on it."""
    secrets = stack.docker / "secrets"
    kept, owner = (secrets / "log_key").read_text(), (secrets / "store_owner").read_text()
    (secrets / "log_key").chmod(0o644)
    (secrets / "log_key").write_text(owner)
    try:
        with pytest.raises(Failed, match="log_key: this key can delete in predictions, but should not"):
            stack.start("setup")
    finally:
        (secrets / "log_key").write_text(kept)
    stack.start("setup")  # a second time: everything is there
    assert "accounts: worker, serve" in stack.tail("setup")


def test_a_log_that_must_not_be_deleted_from_is_kept_when_old_days_are_removed(stack: Stack) -> None:
    """`headway gc` with the worker's key fails with a line that names the folder; with the owner's key it removes."""
    day = date.today() - timedelta(days=400)
    name = f"part-{datetime(day.year, day.month, day.day):%Y%m%dT%H%M%S}000000Z-1-a.parquet"
    for key in ("log_key", "store_owner"):
        environment = {
            "AWS_ENDPOINT_URL": stack.url("store"),
            "AWS_SHARED_CREDENTIALS_FILE": str(stack.docker / "secrets" / key),
            "AWS_DEFAULT_REGION": "us-east-1",
            "no_proxy": "*",
        }
        with pytest.MonkeyPatch.context() as patch:
            for variable, value in environment.items():
                patch.setenv(variable, value)
            s3fs.S3FileSystem.clear_instance_cache()
            store = PartStore.open("s3://predictions/old")
            store.require_writable()
            store.write(name, day, pa.table({"label": ["a"]}))
            if key == "log_key":
                with pytest.raises(HeadwayError, match="s3://predictions/old cannot be removed from"):
                    store.remove(day)
                assert len(store.parts()) == 1
            else:
                store.remove(day)
                assert store.parts() == []
            s3fs.S3FileSystem.clear_instance_cache()
