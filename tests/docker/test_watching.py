"""What Prometheus and Grafana read: their files against the metrics that the service has."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from headway.serving.http.metrics import Metrics
from tests.docker.compose_file import DOCKER, listening_ports, services, yaml

DASHBOARD = DOCKER / "grafana" / "dashboards" / "headway.json"
SCRAPE = DOCKER / "prometheus" / "prometheus.yml"


def expressions() -> list[str]:
    """The queries of the dashboard, with Grafana's variable filled in."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"].replace("$__rate_interval", "1m") for panel in panels for target in panel["targets"]]


def exported() -> dict[str, set[str]]:
    """The labels of each of the service's metrics, by the name that Prometheus knows it by."""
    metrics = Metrics()
    found: dict[str, set[str]] = {"up": {"job"}}
    for value in vars(metrics).values():
        name, labels = getattr(value, "_name", None), set(getattr(value, "_labelnames", ()))
        if name:
            suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(value._type, ("",))
            found |= {name + suffix: labels | ({"le"} if suffix == "_bucket" else set()) for suffix in suffixes}
    return found


@pytest.mark.parametrize("expression", expressions())
def test_a_query_of_the_dashboard_reads_metrics_and_labels_that_the_service_has(expression: str) -> None:
    metrics = exported()
    names = re.findall(r"\b(headway_\w+|up)\b", expression)
    assert names
    assert [name for name in names if name not in metrics] == []
    labels = {label for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.replace(" ", "").split(",")}
    labels |= set(re.findall(r"(\w+)=", expression))
    assert labels <= set().union(*(metrics[name] for name in names))


def test_the_dashboard_shows_every_metric_of_the_service() -> None:
    shown = set(re.findall(r"\b(headway_\w+)\b", " ".join(expressions())))
    families = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in exported() if name != "up"}
    assert {family for family in families if not any(name.startswith(family) for name in shown)} == set()


def test_the_panels_of_the_dashboard_do_not_overlap_and_use_the_data_source_that_is_provided() -> None:
    (source,) = yaml(DOCKER / "grafana" / "provisioning" / "datasources" / "prometheus.yaml")["datasources"]
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        assert panel["datasource"] == {"type": source["type"], "uid": source["uid"]}
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        fields = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not fields & taken, panel["title"]
        taken |= fields


def test_grafana_finds_its_files_and_prometheus() -> None:
    every = services()
    mounts = dict(volume.split(":")[:2] for volume in every["grafana"]["volumes"])
    (provider,) = yaml(DOCKER / "grafana" / "provisioning" / "dashboards" / "headway.yaml")["providers"]
    assert mounts["./grafana/dashboards"] == provider["options"]["path"]
    assert mounts["./grafana/provisioning"] == "/etc/grafana/provisioning"
    (source,) = yaml(DOCKER / "grafana" / "provisioning" / "datasources" / "prometheus.yaml")["datasources"]
    assert source["url"] == f"http://prometheus:{listening_ports(every['prometheus'])[0]}"


def test_prometheus_scrapes_the_service_with_a_token_of_its_own() -> None:
    (job,) = yaml(SCRAPE)["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"serve:{listening_ports(services()['serve'])[0]}"]}]
    assert "--allowed-host=serve" in services()["serve"]["command"]
    assert job["authorization"] == {"credentials_file": "/run/secrets/metrics_token"}


def test_promtool_accepts_the_configuration_and_the_queries(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if not promtool:
        pytest.skip("no promtool on this machine (Debian: apt-get install prometheus)")
    (tmp_path / "token").write_text("secret")
    config = tmp_path / "prometheus.yml"
    config.write_text(SCRAPE.read_text().replace("/run/secrets/metrics_token", str(tmp_path / "token")))
    rules = tmp_path / "rules.yml"
    groups = [{"name": "dashboard", "rules": [{"record": f"q{n}", "expr": one} for n, one in enumerate(expressions())]}]
    rules.write_text(json.dumps({"groups": groups}))
    for command in (["check", "config", config], ["check", "rules", rules]):
        done = subprocess.run([promtool, *command], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
