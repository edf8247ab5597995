from __future__ import annotations

from typing import Callable, Mapping

import pytest

from backend.errors import StoreUnavailable
from backend.model import Hostname
from backend.sync.updater import ActivityBuffer
from tests.unit.fakes import Clock, host

NAS, ROUTER = host("nas.example.com"), host("router.example.com")


class Hosts:
    """A fake of the store's hosts."""

    def __init__(self) -> None:
        self.writes: list[dict[Hostname, float]] = []
        self.is_away = False
        self.goes_away: Callable[[], None] = lambda: None
        self.written_at = 0.0

    def see(self, activities: Mapping[Hostname, float], now: float) -> None:
        if self.is_away:
            self.goes_away()
            raise StoreUnavailable("away")
        self.writes.append(dict(activities))
        self.written_at = now


@pytest.fixture
def hosts() -> Hosts:
    return Hosts()


@pytest.fixture
def activities(hosts: Hosts, clock: Clock) -> ActivityBuffer:
    return ActivityBuffer(hosts, clock)


def test_a_note_alone_writes_nothing(activities: ActivityBuffer, hosts: Hosts) -> None:
    activities.note(NAS, 1)
    assert hosts.writes == []


def test_a_flush_writes_the_newest_note_of_each_host(
    activities: ActivityBuffer, hosts: Hosts, clock: Clock
) -> None:
    for name, at in ((NAS, 1), (ROUTER, 2), (NAS, 3)):
        activities.note(name, at)
    activities.flush()
    assert hosts.writes == [{NAS: 3, ROUTER: 2}]
    assert hosts.written_at == clock.now


def test_a_note_is_written_once(activities: ActivityBuffer, hosts: Hosts) -> None:
    activities.note(NAS, 1)
    for _ in range(3):
        activities.flush()
    assert hosts.writes == [{NAS: 1}]


def test_a_failed_flush_keeps_its_notes(activities: ActivityBuffer, hosts: Hosts) -> None:
    activities.note(NAS, 1)
    activities.note(ROUTER, 1)
    hosts.is_away = True
    with pytest.raises(StoreUnavailable):
        activities.flush()
    activities.note(NAS, 2)
    hosts.is_away = False
    activities.flush()
    assert hosts.writes == [{NAS: 2, ROUTER: 1}]


def test_a_note_during_a_failed_flush_is_newer(activities: ActivityBuffer, hosts: Hosts) -> None:
    activities.note(NAS, 1)
    hosts.is_away = True
    hosts.goes_away = lambda: activities.note(NAS, 2)
    with pytest.raises(StoreUnavailable):
        activities.flush()
    hosts.is_away = False
    activities.flush()
    assert hosts.writes == [{NAS: 2}]
