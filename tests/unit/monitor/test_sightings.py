from __future__ import annotations

from typing import Callable, Dict, List, Mapping

import pytest

from backend.errors import StoreUnavailable
from backend.model import Hostname
from backend.store.hosts import Sightings
from tests.unit.fakes import Clock, host

NAS, ROUTER = host("nas.example.com"), host("router.example.com")


class Hosts:
    """Stands in for the hosts of the store."""

    def __init__(self) -> None:
        self.writes: List[Dict[Hostname, float]] = []
        self.is_away = False
        self.goes_away: Callable[[], None] = lambda: None
        self.written_at = 0.0

    def see(self, sightings: Mapping[Hostname, float], now: float) -> None:
        if self.is_away:
            self.goes_away()
            raise StoreUnavailable("away")
        self.writes.append(dict(sightings))
        self.written_at = now


@pytest.fixture
def hosts() -> Hosts:
    return Hosts()


@pytest.fixture
def sightings(hosts: Hosts, clock: Clock) -> Sightings:
    return Sightings(hosts, clock)


def test_a_note_writes_nothing_by_itself(sightings: Sightings, hosts: Hosts) -> None:
    sightings.note(NAS, 1)
    assert hosts.writes == []


def test_all_notes_are_written_at_once_the_newest_of_each_host(
    sightings: Sightings, hosts: Hosts, clock: Clock
) -> None:
    for name, at in ((NAS, 1), (ROUTER, 2), (NAS, 3)):
        sightings.note(name, at)
    sightings.flush()
    assert hosts.writes == [{NAS: 3, ROUTER: 2}]
    assert hosts.written_at == clock.now


def test_what_is_written_is_not_written_again(sightings: Sightings, hosts: Hosts) -> None:
    sightings.note(NAS, 1)
    for _ in range(3):
        sightings.flush()
    assert hosts.writes == [{NAS: 1}]


def test_what_could_not_be_written_is_kept_beside_what_came_since(
    sightings: Sightings, hosts: Hosts
) -> None:
    sightings.note(NAS, 1)
    sightings.note(ROUTER, 1)
    hosts.is_away = True
    with pytest.raises(StoreUnavailable):
        sightings.flush()
    sightings.note(NAS, 2)
    hosts.is_away = False
    sightings.flush()
    assert hosts.writes == [{NAS: 2, ROUTER: 1}]


def test_what_came_while_a_write_failed_is_newer_than_what_was_to_be_written(
    sightings: Sightings, hosts: Hosts
) -> None:
    sightings.note(NAS, 1)
    hosts.is_away = True
    hosts.goes_away = lambda: sightings.note(NAS, 2)
    with pytest.raises(StoreUnavailable):
        sightings.flush()
    hosts.is_away = False
    sightings.flush()
    assert hosts.writes == [{NAS: 2}]
