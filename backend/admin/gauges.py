"""The metrics that are computed from the store when they are read."""

from __future__ import annotations

from typing import Callable, Iterator, Sequence

from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from backend import __version__
from backend.admin.status import Snapshot
from backend.hetzner.zones import is_undelegated
from backend.metrics import Meters
from backend.store.conditions import Condition, HostLine

_AT_ONCE = 250  # hosts


def exposition(
    meters: Meters, snapshot: Snapshot | None, lines: Sequence[HostLine]
) -> Iterator[bytes]:
    """Yield the text for Prometheus in parts: the counters, the gauges, and those of each host."""
    yield meters.exposition(_gauges(snapshot))
    if snapshot is not None:
        yield from _host_gauges(lines, snapshot.now)


def _gauges(snapshot: Snapshot | None) -> Iterator[Metric]:
    """Yield every gauge; without a snapshot only those that need no store."""
    yield _gauge("dyndns_build_info", "Version of the service", ("version",), [((__version__,), 1)])
    up = [((), snapshot is not None)]
    yield _gauge("dyndns_store_up", "1 while the store answers", (), up)
    if snapshot is None:
        return
    oldest = snapshot.oldest_update_at
    waiting = [((), snapshot.waiting)]
    yield _gauge("dyndns_updates_waiting", "Updates that Hetzner hasn't accepted", (), waiting)
    age = 0.0 if oldest is None else max(0.0, snapshot.now - oldest)
    help_text = "Age of the oldest update that Hetzner hasn't accepted; 0 without any"
    yield _gauge("dyndns_oldest_update_age_seconds", help_text, (), [((), age)])
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


def _host_gauges(lines: Sequence[HostLine], now: float) -> Iterator[bytes]:
    """Yield the text of every gauge of each host, some hosts at a time.

    With many hosts, `Metric` objects would take ten times as long. A host name needs no escaping.
    """
    states = {
        condition: "".join(
            f'dyndns_host_state{{host="\0",state="{one.slug}"}} {float(one is condition)}\n'
            for one in Condition
        )
        for condition in Condition
    }
    texts: Sequence[tuple[str, str, Callable[[HostLine], str]]] = (
        (
            "dyndns_host_state",
            "1 for the state of a host",
            lambda one: states[one.condition].replace("\0", one.host),
        ),
        (
            "dyndns_host_last_seen_age_seconds",
            "Time since the last update of a host; missing for a host never seen",
            lambda one: (
                ""
                if one.seen_at is None
                else f'dyndns_host_last_seen_age_seconds{{host="{one.host}"}} '
                f"{max(0.0, now - one.seen_at)}\n"
            ),
        ),
        (
            "dyndns_host_muted",
            "1 while a host is muted",
            lambda one: f'dyndns_host_muted{{host="{one.host}"}} {float(one.is_muted)}\n',
        ),
    )
    for name, help_text, text_of in texts:
        yield f"# HELP {name} {help_text}\n# TYPE {name} gauge\n".encode()
        for start in range(0, len(lines), _AT_ONCE):
            yield "".join(map(text_of, lines[start : start + _AT_ONCE])).encode()


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
