from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, Iterator

import pytest

from backend.errors import (
    ChangeRefused,
    DyndnsError,
    HetznerBusy,
    HetznerUnreachable,
    HostBusy,
    StoreUnavailable,
    Superseded,
)
from backend.events import AnsweredFromCache, Confirmed, Published
from backend.hetzner.dns import Hetzner
from backend.hetzner.zones import Zones
from backend.model import (
    Address,
    Change,
    Deadline,
    DesiredRecord,
    Hostname,
    RecordOutcome,
    RecordType,
    Update,
)
from backend.store import Store
from backend.store.hosts import Record, State
from backend.sync import updater as module
from backend.sync.publisher import Publisher
from backend.sync.updater import Updater
from tests.unit.fakes import Clock, FakeCloudApi, RecordingSink, host, removal, update

HOST = host()
A, AAAA = RecordType.A, RecordType.AAAA
FIRST, SECOND = "198.51.100.1", "198.51.100.2"
TIMEOUT = 10.0
RRSETS = "/zones/example.com/rrsets"
LIST, READ, CREATE = "GET /zones", f"GET {RRSETS}", f"POST {RRSETS}"
SET = f"POST {RRSETS}/host/A/actions/set_records"


class ActivityBuffer:
    """Replaces `ActivityBuffer`: records the activity it is given."""

    def __init__(self) -> None:
        self.noted: list[object] = []

    def note(self, seen: Hostname, at: float) -> None:
        self.noted.append((seen, at))


class SlowPublisher:
    """Replaces a publisher: blocks until `released` is set."""

    def __init__(self, store: Store, errors: Callable[[], dict[RecordType, RecordOutcome]]) -> None:
        self._store = store
        self.released = threading.Event()
        self.started = threading.Semaphore(0)
        self._finish = errors

    def is_up_to_date(self, _record: Record | None) -> bool:
        return False

    def begin(self, _host: Hostname, _deadline: Deadline, desired: Update) -> None:
        self._store.records.set_desired(desired, 0, 10)

    def complete(self, _attempt: None, _kinds: object) -> dict[RecordType, RecordOutcome]:
        self.started.release()
        self.released.wait(TIMEOUT)
        return self._finish()


@pytest.fixture
def activities() -> ActivityBuffer:
    return ActivityBuffer()


@pytest.fixture
def publisher(store: Store, cloud: FakeCloudApi, clock: Clock, sink: RecordingSink) -> Publisher:
    zones = Zones([Hetzner(cloud, 21600)], 86400, clock)
    return Publisher(store, zones, sink, cache_ttl=300, clock=clock)


@pytest.fixture
def updater(
    store: Store,
    publisher: Publisher,
    activities: ActivityBuffer,
    clock: Clock,
    sink: RecordingSink,
) -> Iterator[Updater]:
    updater = Updater(store, publisher, activities, sink, threads=2, queued=1, clock=clock)
    yield updater
    updater.stop()


def changes(updater: Updater, desired: Update) -> list[Change]:
    outcome = updater.apply(desired)
    assert outcome.host == desired.host
    assert tuple(one.desired for one in outcome.records) == desired.desired
    return [one.change for one in outcome.records]


def test_only_changes_make_calls(updater: Updater, cloud: FakeCloudApi) -> None:
    assert changes(updater, update(FIRST)) == [Change.CREATED]
    assert cloud.take_calls() == [LIST, READ, CREATE]
    assert changes(updater, update(FIRST)) == [Change.CACHED]
    assert cloud.take_calls() == []
    assert changes(updater, update(SECOND)) == [Change.REPLACED]
    assert cloud.take_calls() == [SET]
    assert changes(updater, update(FIRST)) == [Change.REPLACED]
    assert cloud.take_calls() == [SET]


def test_each_kind_of_outcome_is_reported(
    updater: Updater, sink: RecordingSink, clock: Clock
) -> None:
    updater.apply(update(FIRST))
    updater.apply(update(FIRST))
    clock.advance(400)
    updater.apply(update(FIRST))
    assert [type(event) for event in sink.events] == [Published, AnsweredFromCache, Confirmed]


def test_outcomes_are_in_the_order_of_the_update(updater: Updater) -> None:
    both = update(FIRST, "2001:db8::1")
    assert changes(updater, both) == [Change.CREATED, Change.CREATED]
    assert changes(updater, both) == [Change.CACHED, Change.CACHED]
    assert changes(updater, update(SECOND, "2001:db8::1")) == [Change.REPLACED, Change.CACHED]


def test_a_removal_is_cached_like_an_address(updater: Updater, cloud: FakeCloudApi) -> None:
    updater.apply(update(FIRST))
    assert changes(updater, removal(A, AAAA)) == [Change.DELETED, Change.UNCHANGED]
    cloud.take_calls()
    assert changes(updater, removal(A, AAAA)) == [Change.CACHED, Change.CACHED]
    assert cloud.take_calls() == []


def test_every_update_counts_as_activity_even_if_it_fails(
    updater: Updater, activities: ActivityBuffer, cloud: FakeCloudApi, clock: Clock
) -> None:
    start = clock()
    updater.apply(update(FIRST))
    clock.advance(60)
    updater.apply(update(FIRST))
    clock.advance(60)
    cloud.failures["POST"] = HetznerUnreachable("unreachable")
    with pytest.raises(HetznerUnreachable):
        updater.apply(update(SECOND))
    assert activities.noted == [(HOST, start), (HOST, start + 60), (HOST, start + 120)]


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (HetznerUnreachable("unreachable"), State.PENDING),
        (HetznerBusy("busy"), State.PENDING),
        (ChangeRefused("protected"), State.REFUSED),
    ],
)
def test_a_failure_is_raised_and_the_update_is_kept(  # noqa: PLR0913, PLR0917
    updater: Updater,
    cloud: FakeCloudApi,
    store: Store,
    clock: Clock,
    error: DyndnsError,
    state: State,
) -> None:
    cloud.failures["POST"] = error
    with pytest.raises(type(error)) as caught:
        updater.apply(update(FIRST))
    assert caught.value is error
    record = store.records.of(HOST)[A]
    assert (str(record.desired.address), record.state) == (FIRST, state)
    cloud.failures.clear()
    store.records.retry(HOST, clock())
    assert changes(updater, update(FIRST)) == [Change.CREATED]


def test_a_failure_of_one_record_type_is_raised(updater: Updater, cloud: FakeCloudApi) -> None:
    cloud.publish("host.example.com", "AAAA", "2001:db8::9")
    cloud.failures[CREATE] = HetznerUnreachable("unreachable")
    with pytest.raises(HetznerUnreachable):
        updater.apply(update(FIRST, "2001:db8::1"))
    assert cloud.values("host", "AAAA") == ["2001:db8::1"]
    cloud.failures.clear()
    both = changes(updater, update(FIRST, "2001:db8::1"))
    assert both == [Change.CREATED, Change.CACHED]


def test_an_unavailable_store_causes_no_call(
    cloud: FakeCloudApi, clock: Clock, sink: RecordingSink, activities: ActivityBuffer
) -> None:
    store = Store("sqlite:////missing/store.db")
    zones = Zones([Hetzner(cloud, 60)], 86400, clock)
    publisher = Publisher(store, zones, sink, cache_ttl=300, clock=clock)
    updater = Updater(store, publisher, activities, sink, threads=1, queued=0, clock=clock)
    with pytest.raises(StoreUnavailable):
        updater.apply(update(FIRST))
    updater.stop()
    assert cloud.calls == []


def test_an_update_is_stored_before_the_first_call_to_hetzner(
    updater: Updater, cloud: FakeCloudApi, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Address | None] = []
    call = cloud.call

    def look(*arguments: object, **options: object) -> object:
        seen.append(store.records.of(HOST)[A].desired.address)
        return call(*arguments, **options)

    monkeypatch.setattr(cloud, "call", look)
    updater.apply(update(FIRST))
    assert {str(address) for address in seen} == {FIRST}


@pytest.mark.parametrize(
    "results",
    [{A: RecordOutcome(DesiredRecord(A, Address.parse(SECOND)), Change.REPLACED)}, {}],
    ids=["another address", "dropped"],
)
def test_an_update_replaced_while_it_is_published_is_superseded(
    store: Store,
    activities: ActivityBuffer,
    sink: RecordingSink,
    clock: Clock,
    results: dict[RecordType, RecordOutcome],
) -> None:
    publisher = SlowPublisher(store, lambda: results)
    publisher.released.set()
    updater = Updater(store, publisher, activities, sink, threads=1, queued=0, clock=clock)
    with pytest.raises(Superseded, match=r"host\.example\.com"):
        updater.apply(update(FIRST))
    updater.stop()


class TestAHangingPublisher:
    """The time limit of an answer is shortened for these tests."""

    @pytest.fixture(autouse=True)
    def _short_time_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "ANSWER_SECONDS", 0.5)

    @pytest.fixture
    def errors(self) -> list[Exception]:
        """Errors for the publisher to raise; empty for success."""
        return []

    @pytest.fixture
    def publisher(self, store: Store, errors: list[Exception]) -> Iterator[SlowPublisher]:
        def end() -> dict[RecordType, RecordOutcome]:
            if errors:
                raise errors[0]
            return {A: RecordOutcome(DesiredRecord(A, Address.parse(FIRST)), Change.CREATED)}

        publisher = SlowPublisher(store, end)
        yield publisher
        publisher.released.set()

    def test_does_not_delay_the_answer(self, updater: Updater, store: Store) -> None:
        with pytest.raises(HetznerUnreachable, match="too long"):
            updater.apply(update(FIRST))
        assert store.records.of(HOST)[A].state is State.PENDING

    def test_keeps_its_thread_so_a_further_update_is_stored_and_waits(
        self, updater: Updater, publisher: SlowPublisher, store: Store
    ) -> None:
        self.occupy(updater, "one", "two")
        third = update(FIRST, name="third.example.com")
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(updater.apply, third, Deadline(TIMEOUT))
            while A not in store.records.of(third.host):
                assert not waiting.done()
            publisher.released.set()
            assert waiting.result().records[0].change is Change.CREATED

    def test_keeps_its_slot_so_further_updates_are_refused(
        self, updater: Updater, publisher: SlowPublisher, store: Store
    ) -> None:
        self.occupy(updater, "one", "two", "queued")
        fourth = update(FIRST, name="fourth.example.com")
        with pytest.raises(HetznerBusy, match="queue"):
            updater.apply(fourth)
        assert store.records.of(fourth.host)[A].state is State.PENDING, "the update is stored"
        publisher.released.set()
        assert self.retry(updater, fourth) == Change.CREATED

    def occupy(self, updater: Updater, *names: str) -> None:
        for name in names:
            with pytest.raises(HetznerUnreachable):
                updater.apply(update(FIRST, name=f"{name}.example.com"))

    def retry(self, updater: Updater, desired: Update) -> Change:
        """Repeat the update until a slot is free."""
        for _ in range(1000):
            try:
                return updater.apply(desired).records[0].change
            except HetznerBusy:
                threading.Event().wait(0.001)
        raise AssertionError("no slot became free")

    @pytest.mark.parametrize(
        ("error", "is_logged"), [(ValueError("a bug"), True), (HostBusy("busy"), False)]
    )
    def test_and_then_raises_is_logged_with_its_traceback(  # noqa: PLR0913
        self,
        updater: Updater,
        publisher: SlowPublisher,
        errors: list[Exception],
        caplog: pytest.LogCaptureFixture,
        error: Exception,
        *,
        is_logged: bool,
    ) -> None:
        errors.append(error)
        with pytest.raises(HetznerUnreachable):
            updater.apply(update(FIRST))
        publisher.released.set()
        self.stop(updater)
        crashes = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert [record.exc_info[1] for record in crashes] == ([error] if is_logged else [])

    def stop(self, updater: Updater) -> None:
        """Stop the updater and wait for its threads."""
        updater.stop()
        for thread in threading.enumerate():
            if thread.name.startswith("publish"):
                thread.join(TIMEOUT)


@pytest.mark.parametrize("place", ["begin", "complete"])
def test_an_unexpected_exception_is_raised_to_the_caller(
    store: Store, activities: ActivityBuffer, sink: RecordingSink, clock: Clock, place: str
) -> None:
    class Crashing:
        def is_up_to_date(self, _record: Record | None) -> bool:
            return False

        def begin(self, *_: object) -> None:
            if place == "begin":
                raise ZeroDivisionError

        def complete(self, *_: object) -> dict[RecordType, RecordOutcome]:
            raise ZeroDivisionError

    updater = Updater(store, Crashing(), activities, sink, threads=1, queued=0, clock=clock)
    for _ in range(3):  # a crash must release its slot
        with pytest.raises(ZeroDivisionError):
            updater.apply(update(FIRST))
    updater.stop()
