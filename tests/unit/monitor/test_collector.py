from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from backend.errors import HetznerUnreachable, TokenRejected
from backend.events import TokenRefused, ZoneFailed
from backend.hetzner.dns import Hetzner
from backend.monitor import Collector
from backend.rate import Quota
from backend.store import Store
from tests.unit.fakes import Clock, RecordingSink, ScriptedApi

HOUR = 3600.0


class Api(ScriptedApi):
    """The API of a project, with quotas."""

    def __init__(self, *answers: Any) -> None:  # noqa: ANN401
        super().__init__(*answers)
        self.quotas: list[Quota] = []


def listing(*zones: tuple[str, str]) -> Any:  # noqa: ANN401
    """Return Hetzner's answer with these zones and their delegations."""
    return {
        "zones": [
            {
                "name": name,
                "mode": "primary",
                "authoritative_nameservers": {"delegation_status": delegation},
            }
            for name, delegation in zones
        ],
        "meta": {"pagination": {"next_page": None}},
    }


def make_collector(
    store: Store, clock: Clock, *apis: Api, sink: RecordingSink | None = None
) -> Collector:
    projects = [Hetzner(api, 60) for api in apis]  # type: ignore[arg-type]
    return Collector(store, projects, sink or RecordingSink(), clock, lambda: clock.now - 1_000_000)


def seen(store: Store) -> list[tuple[str, int, str]]:
    return [(zone.name, zone.project, zone.delegation) for zone in store.projects.zones()]


def test_one_process_lists_zones_at_once_and_then_hourly(
    store: Store, other_store: Store, clock: Clock
) -> None:
    first = Api(listing(("example.com", "valid")), listing(("example.com", "lame")))
    one, other = make_collector(store, clock, first), make_collector(other_store, clock, first)
    for each in (one, other, one):
        each.tick()
    assert len(first.calls) == 1
    assert seen(store) == [("example.com", 1, "valid")]
    clock.advance(HOUR + 1)
    for each in (other, one):
        each.tick()
    assert len(first.calls) == 2
    assert seen(store) == [("example.com", 1, "lame")]


def test_a_zone_that_cannot_be_published_is_reported_once(
    store: Store, clock: Clock, sink: RecordingSink
) -> None:
    answer = listing(("example.com", "valid"), ("example.org", "valid"))
    answer["zones"][0]["status"], answer["zones"][1]["status"] = "error", "updating"
    collector = make_collector(store, clock, Api(answer, answer), sink=sink)
    for _ in range(2):
        collector.tick()
        clock.advance(HOUR + 1)
    assert sink.events == [ZoneFailed("example.com")]


def test_another_process_takes_over_when_the_lister_dies(store: Store, clock: Clock) -> None:
    script = "from backend.store.leases import new_owner; print(new_owner())"
    dead = subprocess.check_output([sys.executable, "-c", script], text=True).strip()
    assert store.leases.acquire("collector", dead, clock(), 60)
    make_collector(store, clock, Api(listing(("example.com", "valid")))).tick()
    assert seen(store) == [("example.com", 1, "valid")]


def test_a_restart_lists_zones_at_once(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in a container, where the ends of other processes aren't known.
    monkeypatch.setattr("backend.store.leases.is_dead", lambda _: False)
    sink = RecordingSink()
    make_collector(store, clock, Api(TokenRejected("no")), sink=sink).tick()
    clock.advance(10)
    make_collector(store, clock, Api(TokenRejected("still no")), sink=sink).tick()
    clock.advance(10)
    make_collector(store, clock, Api(listing(("example.com", "valid"))), sink=sink).tick()
    assert sink.events == [TokenRefused(1, "no"), TokenRefused(1, "still no")]
    assert seen(store) == [("example.com", 1, "valid")]


def test_an_answer_may_lack_the_delegation(store: Store, clock: Clock) -> None:
    answer = listing(("example.com", "valid"))
    del answer["zones"][0]["authoritative_nameservers"]
    make_collector(store, clock, Api(answer)).tick()
    assert seen(store) == [("example.com", 1, "")]


def test_a_refused_token_is_stored_and_its_zones_stay(store: Store, clock: Clock) -> None:
    one = Api(listing(("example.com", "valid")), listing(("example.com", "valid")))
    two = Api(listing(("example.net", "valid")), TokenRejected("no"))
    collector = make_collector(store, clock, one, two)
    collector.tick()
    clock.advance(HOUR + 1)
    collector.tick()
    assert seen(store) == [("example.com", 1, "valid"), ("example.net", 2, "valid")]
    assert [project.error for project in store.projects.all()] == ["", "no"]


def test_removed_zones_and_projects_are_not_shown(store: Store, clock: Clock) -> None:
    make_collector(
        store, clock, Api(listing(("a.com", ""), ("b.com", ""))), Api(listing(("c.com", "")))
    ).tick()
    clock.advance(HOUR + 1)
    make_collector(store, clock, Api(listing(("b.com", "")))).tick()
    assert seen(store) == [("b.com", 1, "")]
    assert len(store.projects.all()) == 1


def test_an_invalid_character_does_not_affect_other_zones(store: Store, clock: Clock) -> None:
    make_collector(store, clock, Api(listing(("\ud800.com", "\ud800"), ("b.com", "valid")))).tick()
    assert seen(store) == [("?.com", 1, "?"), ("b.com", 1, "valid")]


def test_an_answer_of_another_shape_lists_no_zone(store: Store, clock: Clock) -> None:
    make_collector(store, clock, Api({"zones": [{"name": "example.com"}]})).tick()
    assert seen(store) == []


def test_an_unavailable_hetzner_is_called_once_a_minute(store: Store, clock: Clock) -> None:
    api = Api(*[HetznerUnreachable("away")] * 2, listing(("example.com", "valid")))
    collector = make_collector(store, clock, api)
    for seconds in (0, 3, 60, 3, 60):
        clock.advance(seconds)
        collector.tick()
    assert len(api.calls) == 3
    assert seen(store) == [("example.com", 1, "valid")]


def test_the_newest_quota_of_all_processes_is_stored(
    store: Store, other_store: Store, clock: Clock
) -> None:
    mine, theirs = Api(listing()), Api()
    one, other = make_collector(store, clock, mine), make_collector(other_store, clock, theirs)
    mine.quotas = [Quota(3600, 3000, clock.now - 1_000_000)]
    one.tick()
    clock.advance(10)
    theirs.quotas = [Quota(3600, 2000, clock.now - 1_000_000)]
    other.tick()
    one.tick()
    (quota,) = store.projects.quotas()
    assert (quota.project, quota.limit, quota.remaining) == (1, 3600, 2000)
    assert quota.left(clock.now + 10) == 2010
    assert quota.left(clock.now + 2 * HOUR) == 3600


def test_an_unchanged_quota_is_not_written(store: Store, clock: Clock) -> None:
    api = Api(listing())
    api.quotas = [Quota(3600, 3000, clock.now - 1_000_000)]
    collector = make_collector(store, clock, api)
    collector.tick()
    store.projects.store_quotas = lambda _: pytest.fail("written")  # type: ignore[method-assign,assignment]
    collector.tick()


def test_a_refused_token_is_reported_at_each_start_and_then_once_a_day(
    store: Store, clock: Clock
) -> None:
    sink = RecordingSink()
    api = Api(*[TokenRejected("no")] * 30)
    collector = make_collector(store, clock, api, sink=sink)
    for _ in range(3):
        collector.tick()
        clock.now += HOUR
    assert sink.events == [TokenRefused(1, "no")]
    make_collector(store, clock, api, sink=sink).tick()
    assert len(sink.events) == 2
