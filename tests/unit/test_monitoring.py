"""Alerts and dashboard: their metrics and labels exist, and each alert leads to a page that says what to do."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from gameai_devcluster import charts

ROOT = Path(__file__).resolve().parents[2]
FILES = ROOT / "charts/gameai-operator/files"
ALERTS: list[dict[str, Any]] = yaml.safe_load((FILES / "alerts.yaml").read_text())
DASHBOARD = json.loads((FILES / "dashboard.json").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
# Labels that Prometheus or a histogram adds.
_ADDED = {"job", "le", "pod", "instance"}
_ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \|", re.MULTILINE)


def known() -> dict[str, set[str]]:
    """Labels by metric, as the generated reference lists them; a histogram has three series."""
    found: dict[str, set[str]] = {}
    for name, kind, labels in _ROW.findall((ROOT / "docs/reference/metrics.md").read_text()):
        names = (
            [f"{name}_{each}" for each in ("bucket", "sum", "count")]
            if kind == "histogram"
            else [name]
        )
        found |= {each: set(re.findall(r"`(\w+)`", labels)) for each in names}
    return found


@pytest.mark.parametrize("query", [*(each["expr"] for each in ALERTS), *QUERIES])
def test_metrics_and_labels_of_a_query_exist(query: str) -> None:
    metrics = known()
    used = set(re.findall(r"\bgameai_\w+", query))
    assert used
    assert used <= set(metrics)
    labels = set().union(*(metrics[each] for each in used)) | _ADDED
    grouped = re.findall(r"by \(([^)]*)\)", query)
    named = {word.strip() for group in grouped for word in group.split(",")}
    named |= set(re.findall(r"[{,]\s*(\w+)\s*=", query))
    assert named <= labels
    assert query.count("(") == query.count(")")


@pytest.mark.parametrize("alert", ALERTS, ids=lambda each: str(each["alert"]))
def test_an_alert_leads_to_a_page_that_names_it_or_its_subject(alert: dict[str, Any]) -> None:
    page, _, anchor = alert["annotations"]["runbook"].partition("#")
    text = (ROOT / page).read_text()
    headings = {
        line.lstrip("# ").lower().replace(" ", "-")
        for line in text.splitlines()
        if line.startswith("#")
    }
    assert not anchor or anchor in headings
    assert alert["labels"]["severity"] in ("info", "warning", "critical")
    assert re.fullmatch(r"[0-9]+[mh]", alert["for"])
    if page == "docs/scaling.md" and anchor == "alerts":
        assert f"`{alert['alert']}`" in text


def test_the_chart_installs_rules_and_dashboard_on_demand() -> None:
    names = {each["kind"] for each in charts.rendered()}
    assert "PrometheusRule" not in names
    values = {"monitoring": {"rules": True, "dashboard": True, "ruleLabels": {"release": "kube"}}}
    made = {
        each["kind"]: each
        for each in charts.rendered(values=values)
        if each["kind"] in ("PrometheusRule", "ConfigMap")
    }
    rule = made["PrometheusRule"]
    assert rule["spec"]["groups"][0]["rules"] == ALERTS
    assert rule["metadata"]["labels"]["release"] == "kube"
    assert json.loads(made["ConfigMap"]["data"]["gameai-tiers.json"]) == DASHBOARD
    assert made["ConfigMap"]["metadata"]["labels"]["grafana_dashboard"] == "1"
