"""The pause between a failed check of a published record and the next check."""

from __future__ import annotations

import pytest

from backend.errors import HetznerUnreachable
from backend.hetzner.dns import Hetzner
from backend.hetzner.zones import Zones
from backend.model import Deadline, RecordType
from backend.store import Store
from backend.sync.publisher import Publisher
from tests.unit.fakes import Clock, FakeCloudApi, RecordingSink, host, update

CACHE_TTL = 300


@pytest.fixture
def publisher(store: Store, cloud: FakeCloudApi, clock: Clock, sink: RecordingSink) -> Publisher:
    """Return a publisher whose check of a published record has just failed."""
    zones = Zones([Hetzner(cloud, 21600)], 86400, clock)
    publisher = Publisher(store, zones, sink, cache_ttl=CACHE_TTL, clock=clock)
    store.records.set_desired(update("198.51.100.1"), clock(), 10)
    publisher.publish(host(), [RecordType.A], Deadline(5))
    clock.advance(CACHE_TTL + 1)
    cloud.failures["GET"] = HetznerUnreachable("unreachable")
    publisher.publish(host(), [RecordType.A], Deadline(5))
    return publisher


@pytest.mark.parametrize(
    ("seconds", "is_up_to_date"),
    [(0, True), (59, True), (61, False), (-1, False), (-3600, False)],
)
def test_a_failed_check_is_repeated_after_a_minute_or_a_clock_change(
    publisher: Publisher, store: Store, clock: Clock, seconds: float, *, is_up_to_date: bool
) -> None:
    clock.advance(seconds)
    record = store.records.of(host())[RecordType.A]
    assert publisher.is_up_to_date(record) is is_up_to_date
