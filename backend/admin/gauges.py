"""The metrics that are computed from the store when they are read."""

from __future__ import annotations

from typing import Iterator, Sequence

from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from backend import __version__
from backend.admin.status import Condition, Snapshot
from backend.hetzner.zones import is_undelegated


def gauges(snapshot: Snapshot | None) -> Iterator[Metric]:
    """Yield every gauge; without a snapshot only those that need no store."""
    yield _gauge("dyndns_build_info", "Version of the service", ("version",), [((__version__,), 1)])
    up = [((), snapshot is not None)]
    yield _gauge("dyndns_store_up", "1 while the store answers", (), up)
    if snapshot is None:
        return
    hosts, oldest = snapshot.hosts, snapshot.oldest_update_at
    waiting = [((), snapshot.waiting)]
    yield _gauge("dyndns_updates_waiting", "Updates that Hetzner hasn't accepted", (), waiting)
    age = 0.0 if oldest is None else max(0.0, snapshot.now - oldest)
    help_text = "Age of the oldest update that Hetzner hasn't accepted; 0 without any"
    yield _gauge("dyndns_oldest_update_age_seconds", help_text, (), [((), age)])
    states = [
        ((one.host, state.slug), one.condition is state) for one in hosts for state in Condition
    ]
    yield _gauge("dyndns_host_state", "1 for the state of a host", ("host", "state"), states)
    seen = [
        ((one.host,), max(0.0, snapshot.now - one.seen_at))
        for one in hosts
        if one.seen_at is not None
    ]
    help_text = "Time since the last update of a host; missing for a host never seen"
    yield _gauge("dyndns_host_last_seen_age_seconds", help_text, ("host",), seen)
    muted = [((one.host,), one.muted_until is not None) for one in hosts]
    yield _gauge("dyndns_host_muted", "1 while a host is muted", ("host",), muted)
    labels, quotas = ("project", "limit"), snapshot.quotas
    left = [((one.project, one.limit), snapshot.left(one)) for one in quotas]
    help_text = "Calls left of Hetzner's rate limit, by the limit per hour"
    yield _gauge("dyndns_hetzner_quota_remaining", help_text, labels, left)
    limits = [((one.project, one.limit), one.limit) for one in quotas]
    yield _gauge("dyndns_hetzner_quota_limit", "Calls allowed per hour", labels, limits)
    failed = [((one.project,), bool(one.error)) for one in snapshot.projects]
    help_text = "1 while Hetzner refuses a token"
    yield _gauge("dyndns_hetzner_project_refused", help_text, ("project",), failed)
    zones = [((zone.name,), is_undelegated(zone.delegation)) for zone in snapshot.zones]
    help_text = "1 for a zone that isn't delegated to Hetzner"
    yield _gauge("dyndns_zone_undelegated", help_text, ("zone",), zones)


def _gauge(
    name: str,
    help_text: str,
    labels: Sequence[str],
    samples: Sequence[tuple[Sequence[object], float]],
) -> Metric:
    family = GaugeMetricFamily(name, help_text, labels=labels)
    for values, value in samples:
        family.add_metric([str(one) for one in values], float(value))
    return family
