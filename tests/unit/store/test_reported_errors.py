"""What the operator is told of failures: once a cause and host, and once when it is cleared."""

from __future__ import annotations

import contextlib
from typing import List, Tuple

import pytest

from backend.errors import ChangeRefused, DyndnsError, HetznerBusy, HetznerUnreachable, ZoneNotFound
from backend.events import Cleared, Event, Postponed, Refused
from backend.hetzner.dns import Hetzner
from backend.hetzner.zones import Zones
from backend.model import Deadline, RecordType
from backend.store import Failed, State, Store
from backend.sync.publisher import Publisher
from backend.sync.reconciler import Reconciler
from tests.unit.fakes import Clock, FakeCloudApi, RecordingSink, host, update

HOST, OTHER = host(), host("other.example.com")
V4, OTHER_V4, V6 = "198.51.100.1", "198.51.100.2", "2001:db8::1"
AWAY, BUSY = HetznerUnreachable("Hetzner is away."), HetznerBusy("Hetzner is busy.")
PROTECTED, QUOTA = ChangeRefused("It is protected."), ChangeRefused("The quota is used up.")


class Worker:
    """What one worker process has of all this."""

    def __init__(
        self, store: Store, cloud: FakeCloudApi, clock: Clock, sink: RecordingSink
    ) -> None:
        self.store, self.cloud, self.clock, self.sink = store, cloud, clock, sink
        hetzner = Hetzner(cloud, 21600, None)
        zones = Zones([hetzner], 86400, clock)
        self.publisher = Publisher(store, zones, sink, cache_ttl=300, clock=clock)
        self.reconciler = Reconciler(
            store, self.publisher, zones, [hetzner], sink, history_days=90, clock=clock
        )

    def tries(self, *addresses: str, name: str = "host.example.com") -> List[Tuple[str, bool]]:
        """Update a host; return what was told, and whether it was news of the host."""
        before = len(self.sink.events)
        desired = update(*addresses, name=name)
        self.store.records.set_desired(desired, self.clock(), 10)
        kinds = [desired.type for desired in desired.desired]
        with contextlib.suppress(DyndnsError):
            self.publisher.publish(desired.host, kinds, Deadline(5))
        for record in self.store.records.of(desired.host).values():
            if record.state is State.PUBLISHING:
                self.store.records.finish(record)
        self.clock.advance(4000)
        return [one for one in map(said, self.sink.events[before:]) if one[0]]

    def fails(self, error: DyndnsError, *addresses: str, **name: str) -> List[Tuple[str, bool]]:
        self.cloud.failures = {"GET": error}
        told = self.tries(*addresses, **name)
        self.cloud.failures = {}
        return told


def said(event: Event) -> Tuple[str, bool]:
    if isinstance(event, (Postponed, Refused)):
        return event.error, event.is_news
    if isinstance(event, Cleared):
        return "cleared", event.is_news
    return "", False


CLEARED = [("cleared", True)]


def note(error: Exception) -> List[Tuple[str, bool]]:
    return [(str(error), True)]


@pytest.fixture
def worker(store: Store, cloud: FakeCloudApi, clock: Clock, sink: RecordingSink) -> Worker:
    return Worker(store, cloud, clock, sink)


@pytest.fixture
def other_worker(
    other_store: Store, cloud: FakeCloudApi, clock: Clock, sink: RecordingSink
) -> Worker:
    return Worker(other_store, cloud, clock, sink)


@pytest.mark.parametrize("error", [AWAY, PROTECTED, ZoneNotFound("no zone")])
def test_a_cause_is_told_once_and_once_when_it_is_cleared(
    worker: Worker, error: DyndnsError
) -> None:
    for address in (V4, OTHER_V4):
        assert worker.fails(error, address) == note(error)
        assert [worker.fails(error, address) for _ in range(5)] == [[]] * 5
        assert worker.tries(address) == CLEARED
        assert worker.tries(address) == []


def test_a_new_address_does_not_make_an_old_cause_news(worker: Worker) -> None:
    assert worker.fails(PROTECTED, V4) == note(PROTECTED)
    assert worker.fails(PROTECTED, OTHER_V4) == []
    assert worker.tries(OTHER_V4) == CLEARED


def test_causes_that_take_locks_are_told_once_each(worker: Worker) -> None:
    told = [worker.fails(error, V4) for _ in range(10) for error in (AWAY, BUSY, PROTECTED)]
    assert [one for one in told if one] == [note(AWAY), note(BUSY), note(PROTECTED)]
    assert worker.tries(V4) == CLEARED


def test_a_cause_that_is_worded_anew_at_every_attempt_becomes_no_flood(worker: Worker) -> None:
    told = [worker.fails(ChangeRefused(f"Request {number}"), V4) for number in range(50)]
    assert [bool(one) for one in told] == [True] * 5 + [False] * 45
    assert worker.tries(V4) == CLEARED


def test_both_records_of_a_host_are_one_failure_and_one_end(worker: Worker) -> None:
    assert worker.fails(AWAY, V4, V6) == [(str(AWAY), True), (str(AWAY), False)]
    assert worker.fails(AWAY, V4, V6) == []
    assert worker.tries(V4, V6) == [("cleared", False), ("cleared", True)]


def test_a_host_is_well_when_both_its_records_are(worker: Worker) -> None:
    worker.fails(AWAY, V4, V6)
    assert worker.tries(V6) == [("cleared", False)]
    assert worker.fails(QUOTA, V4) == note(QUOTA)
    assert worker.tries(V4) == CLEARED


def test_each_host_has_its_own_failures(worker: Worker) -> None:
    assert worker.fails(AWAY, V4) == note(AWAY)
    assert worker.fails(AWAY, V4, name=OTHER.text) == note(AWAY)
    assert worker.tries(V4) == CLEARED
    assert worker.tries(V4, name=OTHER.text) == CLEARED


def test_what_one_process_told_no_other_tells_again(worker: Worker, other_worker: Worker) -> None:
    assert worker.fails(AWAY, V4) == note(AWAY)
    assert other_worker.fails(AWAY, V4) == []
    assert other_worker.tries(V4) == CLEARED
    assert worker.tries(V4) == []
    assert other_worker.fails(AWAY, OTHER_V4) == note(AWAY)


def test_a_restart_forgets_nothing_and_tells_nothing_again(
    worker: Worker, store: Store, url: str
) -> None:
    assert worker.fails(PROTECTED, V4) == note(PROTECTED)
    store.close()
    reopened = Store(url)
    again = Worker(reopened, worker.cloud, worker.clock, worker.sink)
    again.cloud.failures = {"GET": PROTECTED}
    before = len(worker.sink.events)
    worker.cloud.take_calls()
    again.reconciler.tick()  # which tries what was refused at every start
    assert worker.cloud.take_calls() == ["GET /zones"]
    assert worker.sink.events[before:] == []
    again.cloud.failures = {}
    again.clock.advance(4000)
    assert again.tries(V4) == CLEARED
    again.reconciler.stop()
    reopened.close()


def test_a_check_of_a_good_record_that_is_refused_is_told_once_and_so_is_its_end(
    worker: Worker,
) -> None:
    assert worker.tries(V4) == []
    worker.store.records.finish(worker.store.records.of(HOST)[RecordType.A])
    for _ in range(2):
        assert worker.fails(PROTECTED, V4) == note(PROTECTED)
        assert worker.fails(PROTECTED, V4) == []
        assert worker.tries(V4) == CLEARED


def test_a_update_that_was_overtaken_while_it_failed_is_not_told_of(
    worker: Worker, clock: Clock
) -> None:
    worker.store.records.set_desired(update(V4), clock(), 10)
    record = worker.store.records.of(HOST)[RecordType.A]
    worker.store.records.set_desired(update(OTHER_V4), clock(), 10)
    notice = worker.store.records.note(
        Failed(record, State.REFUSED, HetznerBusy("no"), clock()), clock()
    )
    assert notice.name == "NONE"
    assert worker.fails(PROTECTED, OTHER_V4) == note(PROTECTED)
