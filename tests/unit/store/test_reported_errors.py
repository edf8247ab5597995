"""Each failure of a host is reported once per cause, and once when it is cleared."""

from __future__ import annotations

import contextlib

import pytest

from backend.errors import ChangeRefused, DyndnsError, HetznerBusy, HetznerUnreachable, ZoneNotFound
from backend.events import Cleared, Event, Postponed, Refused
from backend.hetzner.dns import Hetzner
from backend.hetzner.zones import Zones
from backend.model import Deadline, RecordType
from backend.store import Store
from backend.store.hosts import State
from backend.store.records import Failed
from backend.sync.publisher import Publisher
from backend.sync.reconciler import Reconciler
from tests.unit.fakes import Clock, FakeCloudApi, RecordingSink, host, update

HOST, OTHER = host(), host("other.example.com")
V4, OTHER_V4, V6 = "198.51.100.1", "198.51.100.2", "2001:db8::1"
AWAY, BUSY = HetznerUnreachable("Hetzner is unreachable."), HetznerBusy("Hetzner is busy.")
PROTECTED, QUOTA = ChangeRefused("It is protected."), ChangeRefused("The quota is used up.")


class Worker:
    """The components of one worker process."""

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

    def update(self, *addresses: str, name: str = "host.example.com") -> list[tuple[str, bool]]:
        """Update a host; return each reported error and whether it notifies the operator."""
        before = len(self.sink.events)
        desired = update(*addresses, name=name)
        self.store.records.set_desired(desired, self.clock(), 10)
        kinds = [desired.type for desired in desired.desired]
        with contextlib.suppress(DyndnsError):
            self.publisher.publish(desired.host, kinds, Deadline(5))
        for record in self.store.records.of(desired.host).values():
            if record.state is State.PUBLISHING:
                self.store.records.note_actions([(record, None)])
        self.clock.advance(4000)
        return [
            (text, any(event is one for one in self.sink.pushed))
            for event in self.sink.events[before:]
            if (text := reported_error(event))
        ]

    def fail(self, error: DyndnsError, *addresses: str, **name: str) -> list[tuple[str, bool]]:
        self.cloud.failures = {"GET": error}
        reported = self.update(*addresses, **name)
        self.cloud.failures = {}
        return reported


def reported_error(event: Event) -> str:
    if isinstance(event, (Postponed, Refused)):
        return event.error
    return "cleared" if isinstance(event, Cleared) else ""


CLEARED = [("cleared", True)]


def reported_once(error: Exception) -> list[tuple[str, bool]]:
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
def test_a_cause_and_its_end_are_each_reported_once(worker: Worker, error: DyndnsError) -> None:
    for address in (V4, OTHER_V4):
        assert worker.fail(error, address) == reported_once(error)
        assert [worker.fail(error, address) for _ in range(5)] == [[]] * 5
        assert worker.update(address) == CLEARED
        assert worker.update(address) == []


def test_a_new_address_does_not_report_the_same_cause_again(worker: Worker) -> None:
    assert worker.fail(PROTECTED, V4) == reported_once(PROTECTED)
    assert worker.fail(PROTECTED, OTHER_V4) == []
    assert worker.update(OTHER_V4) == CLEARED


def test_an_outage_with_alternating_errors_is_pushed_once(worker: Worker) -> None:
    reported = [worker.fail(error, V4) for _ in range(10) for error in (AWAY, BUSY, PROTECTED)]
    assert [one for one in reported if one] == [
        reported_once(AWAY),
        [(str(BUSY), False)],
        reported_once(PROTECTED),
    ]
    assert worker.update(V4) == CLEARED


def test_different_messages_of_one_host_are_limited(worker: Worker) -> None:
    reported = [worker.fail(ChangeRefused(f"Request {number}"), V4) for number in range(50)]
    assert [bool(one) for one in reported] == [True] * 5 + [False] * 45
    assert worker.update(V4) == CLEARED


def test_both_records_of_a_host_are_reported_as_one_failure(worker: Worker) -> None:
    assert worker.fail(AWAY, V4, V6) == [(str(AWAY), True), (str(AWAY), False)]
    assert worker.fail(AWAY, V4, V6) == []
    assert worker.update(V4, V6) == [("cleared", False), ("cleared", True)]


def test_a_failure_ends_when_both_records_have_recovered(worker: Worker) -> None:
    worker.fail(AWAY, V4, V6)
    assert worker.update(V6) == [("cleared", False)]
    assert worker.fail(QUOTA, V4) == reported_once(QUOTA)
    assert worker.update(V4) == CLEARED


def test_failures_are_reported_per_host(worker: Worker) -> None:
    assert worker.fail(AWAY, V4) == reported_once(AWAY)
    assert worker.fail(AWAY, V4, name=OTHER.text) == reported_once(AWAY)
    assert worker.update(V4) == CLEARED
    assert worker.update(V4, name=OTHER.text) == CLEARED


def test_a_second_process_does_not_report_the_same_failure(
    worker: Worker, other_worker: Worker
) -> None:
    assert worker.fail(AWAY, V4) == reported_once(AWAY)
    assert other_worker.fail(AWAY, V4) == []
    assert other_worker.update(V4) == CLEARED
    assert worker.update(V4) == []
    assert other_worker.fail(AWAY, OTHER_V4) == reported_once(AWAY)


def test_a_restart_does_not_repeat_a_report(worker: Worker, store: Store, url: str) -> None:
    assert worker.fail(PROTECTED, V4) == reported_once(PROTECTED)
    store.close()
    reopened = Store(url)
    again = Worker(reopened, worker.cloud, worker.clock, worker.sink)
    again.cloud.failures = {"GET": PROTECTED}
    before = len(worker.sink.events)
    worker.cloud.take_calls()
    again.reconciler.tick()  # retries refused updates after every start
    assert worker.cloud.take_calls() == ["GET /zones"]
    assert worker.sink.events[before:] == []
    again.cloud.failures = {}
    again.clock.advance(4000)
    assert again.update(V4) == CLEARED
    again.reconciler.stop()
    reopened.close()


def test_a_refused_check_and_its_end_are_each_reported_once(
    worker: Worker,
) -> None:
    assert worker.update(V4) == []
    worker.store.records.note_actions([(worker.store.records.of(HOST)[RecordType.A], None)])
    for _ in range(2):
        assert worker.fail(PROTECTED, V4) == reported_once(PROTECTED)
        assert worker.fail(PROTECTED, V4) == []
        assert worker.update(V4) == CLEARED


def test_the_failure_of_a_superseded_update_is_not_reported(worker: Worker, clock: Clock) -> None:
    worker.store.records.set_desired(update(V4), clock(), 10)
    record = worker.store.records.of(HOST)[RecordType.A]
    worker.store.records.set_desired(update(OTHER_V4), clock(), 10)
    notice = worker.store.records.note(
        Failed(record, State.REFUSED, HetznerBusy("no"), clock()), clock()
    )
    assert notice is None
    assert worker.fail(PROTECTED, OTHER_V4) == reported_once(PROTECTED)
