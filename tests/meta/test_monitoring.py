"""docs/monitoring names exactly the metrics that the service exposes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from backend.admin.status import Snapshot
from backend.metrics import Meters
from backend.rate import Quota
from backend.store.conditions import Condition, HostLine
from backend.store.projects import Project, SeenZone
from backend.web.dashboard import exposition

DOCS = Path(__file__).parents[2] / "docs"
PARTS = ("_bucket", "_sum", "_count", "_total", "_created")


def told() -> str:
    """The metrics of a service that has a value for each metric."""
    snapshot = Snapshot(
        now=2.0,
        groups=[],
        projects=[Project(1, "", 1.0)],
        zones=[SeenZone("example.com", 1, "primary", "valid")],
        quotas=[Quota(3600, 3600, 1.0, 1)],
        leases=[],
        waiting=0,
        oldest_update_at=None,
    )
    lines = [HostLine("host.example.com", Condition.OK, 1.0, is_muted=False)]
    return b"".join(exposition(Meters(), snapshot, lines)).decode()


def bare(name: str) -> str:
    return next((name[: -len(part)] for part in PARTS if name.endswith(part)), name)


def names(text: str) -> set[str]:
    """The metrics that a text names."""
    return {bare(name) for name in re.findall(r"\bdyndns_[a-z_]+", text)}


KNOWN = {bare(name) for name in re.findall(r"^# TYPE (\S+)", told(), re.MULTILINE)}


@pytest.mark.parametrize("file", ["alerts.yml", "alerts.test.yml", "dashboard.json"])
def test_rules_and_dashboard_use_existing_metrics(file: str) -> None:
    asked = names((DOCS / "monitoring" / file).read_text(encoding="utf-8"))
    assert asked
    assert asked <= KNOWN


def test_the_table_has_every_metric() -> None:
    assert names((DOCS / "monitoring.md").read_text(encoding="utf-8")) == KNOWN


def test_every_rule_has_a_test() -> None:
    rules = re.findall(r"- alert: (\w+)", (DOCS / "monitoring" / "alerts.yml").read_text())
    tested = re.findall(r"alertname: (\w+)", (DOCS / "monitoring" / "alerts.test.yml").read_text())
    assert rules
    assert set(rules) == set(tested)


def test_the_dashboard_names_no_data_source_of_ours() -> None:
    dashboard = json.loads((DOCS / "monitoring" / "dashboard.json").read_text(encoding="utf-8"))
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    for panel in dashboard["panels"]:
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all(target["expr"] for target in panel["targets"])
