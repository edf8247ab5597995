"""The figures of a snapshot as Prometheus wants them: those that are one truth for all workers."""

from __future__ import annotations

from typing import Iterator, Optional, Sequence, Tuple

from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from backend import __version__
from backend.operations.overview import Snapshot, is_lost
from backend.operations.status import Condition


def gauges(snapshot: Optional[Snapshot]) -> Iterator[Metric]:
    """Return every figure; without a snapshot only that the store is away."""
    yield _gauge("dyndns_build_info", "The program", ("version",), [((__version__,), 1)])
    up = [((), 1.0 if snapshot is not None else 0.0)]
    yield _gauge("dyndns_store_up", "Whether the store answers", (), up)
    if snapshot is not None:
        yield from _wishes(snapshot)
        yield from _hosts(snapshot)
        yield from _hetzner(snapshot)


def _wishes(snapshot: Snapshot) -> Iterator[Metric]:
    waiting = [((), float(snapshot.waiting))]
    yield _gauge("dyndns_wishes_waiting", "Updates that Hetzner hasn't accepted", (), waiting)
    oldest = snapshot.oldest_wish_at
    age = 0.0 if oldest is None else max(0.0, snapshot.now - oldest)
    help_text = "How long the oldest of them has been waiting; 0 without any"
    yield _gauge("dyndns_oldest_wish_age_seconds", help_text, (), [((), age)])


def _hosts(snapshot: Snapshot) -> Iterator[Metric]:
    hosts = snapshot.hosts
    states = [
        ((one.host.text, state.slug), float(one.condition is state))
        for one in hosts
        for state in Condition
    ]
    yield _gauge("dyndns_host_state", "1 for the state a host is in", ("host", "state"), states)
    seen = [
        ((one.host.text,), max(0.0, snapshot.now - one.seen_at))
        for one in hosts
        if one.seen_at is not None
    ]
    help_text = "Since when a host wasn't heard of; missing when it never was"
    yield _gauge("dyndns_host_last_seen_age_seconds", help_text, ("host",), seen)
    muted = [((one.host.text,), float(one.muted_until is not None)) for one in hosts]
    yield _gauge("dyndns_host_muted", "1 while a host is muted", ("host",), muted)


def _hetzner(snapshot: Snapshot) -> Iterator[Metric]:
    labels = ("project", "limit")
    left = [
        ((str(one.project), str(one.calls)), float(one.left(snapshot.now)))
        for one in snapshot.quotas
    ]
    help_text = "Calls left of Hetzner's rate limit, by the limit an hour"
    yield _gauge("dyndns_hetzner_quota_remaining", help_text, labels, left)
    limits = [((str(one.project), str(one.calls)), float(one.calls)) for one in snapshot.quotas]
    yield _gauge("dyndns_hetzner_quota_limit", "Calls allowed an hour", labels, limits)
    failed = [((str(one.project),), float(bool(one.error))) for one in snapshot.projects]
    help_text = "1 while Hetzner refuses a token"
    yield _gauge("dyndns_hetzner_project_refused", help_text, ("project",), failed)
    lost = [((zone.name,), float(is_lost(zone.delegation))) for zone in snapshot.zones]
    help_text = "1 for a zone that isn't delegated to Hetzner, so that nobody finds it"
    yield _gauge("dyndns_zone_undelegated", help_text, ("zone",), lost)


def _gauge(
    name: str,
    help_text: str,
    labels: Sequence[str],
    samples: Sequence[Tuple[Sequence[str], float]],
) -> Metric:
    family = GaugeMetricFamily(name, help_text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family
