from __future__ import annotations

import contextlib
import threading
from typing import Any, Iterable, Iterator, Mapping, Sequence

import pytest

from backend.errors import (
    ChangeRefused,
    DyndnsError,
    HetznerBusy,
    HetznerUnreachable,
    StoreUnavailable,
    TokenRejected,
)
from backend.events import ActionsUnknown, Cleared, Postponed, Published, Refused
from backend.hetzner.client import HetznerMalformed
from backend.hetzner.dns import Hetzner
from backend.hetzner.zones import Zones
from backend.model import Deadline, Hostname, RecordType
from backend.store import Store
from backend.store.hosts import Record, State
from backend.store.records import Accepted, ChangeNote
from backend.sync.publisher import Publisher
from backend.sync.reconciler import Reconciler
from tests.unit.fakes import Clock, FakeCloudApi, RecordingSink, host, removal, update

HOST = host()
A = RecordType.A
FIRST, SECOND = "198.51.100.1", "198.51.100.2"
RRSETS = "/zones/example.com/rrsets"
LIST, READ, CREATE, POLL = "GET /zones", f"GET {RRSETS}", f"POST {RRSETS}", "GET /actions"
SET = f"POST {RRSETS}/host/A/actions/set_records"
DAY = 86400.0
UNREACHABLE, BUSY = HetznerUnreachable("Hetzner is unreachable."), HetznerBusy("Hetzner is busy.")
PROTECTED = ChangeRefused("It is protected.")


class Cloud(FakeCloudApi):
    """A fake API whose actions run until a test ends them."""

    def __init__(self, *zones: str) -> None:
        super().__init__(*zones)
        self.ended: dict[int, tuple[str, str]] = {}
        self.has_no_actions = False
        self.polled: list[list[int]] = []

    def end(self, action: int | None, status: str = "success", error: str = "") -> None:
        assert action is not None
        self.ended[action] = (status, error)

    def _answer(
        self,
        method: str,
        parts: list[str],
        query: tuple[tuple[str, str], ...],
        body: Mapping[str, Any],
    ) -> dict[str, Any]:
        if parts != ["actions"]:
            return super()._answer(method, parts, query, body)
        ids = [int(value) for _, value in query]
        self.polled.append(ids)
        return {"actions": [] if self.has_no_actions else [self._state(number) for number in ids]}

    def _state(self, number: int) -> dict[str, Any]:
        status, message = self.ended.get(number, ("running", ""))
        error = {"code": "action_failed", "message": message} if status == "error" else None
        return {"id": number, "status": status, "error": error}


class ReconcilerEnv:
    """The components of one process: a publisher and a reconciler that only tests tick."""

    def __init__(
        self,
        store: Store,
        cloud: Cloud,
        clock: Clock,
        sink: RecordingSink,
        others: Sequence[Cloud] = (),
    ) -> None:
        self.store, self.cloud, self.clock, self.sink = store, cloud, clock, sink
        projects = [Hetzner(one, 21600) for one in (cloud, *others)]
        self.zones = Zones(projects, DAY, clock)
        self.publisher = Publisher(store, self.zones, sink, cache_ttl=300, clock=clock)
        self.reconciler = Reconciler(
            store, self.publisher, self.zones, projects, sink, history_days=90, clock=clock
        )

    def set_desired(self, address: str, name: str = "host.example.com", grace: float = 0) -> None:
        self.store.records.set_desired(update(address, name=name), self.clock(), grace)

    def publish(self, address: str, name: str = "host.example.com") -> None:
        """Store an update and publish it as a request does, ignoring errors."""
        polled = update(address, name=name)
        with contextlib.suppress(DyndnsError):
            attempt = self.publisher.begin(host(name), Deadline(5), polled)
            self.publisher.complete(attempt, (A,))

    def tick(self, seconds: float = 1.0) -> list[str]:
        """Advance the clock and tick the reconciler; return its calls."""
        self.clock.advance(seconds)
        self.cloud.take_calls()
        self.reconciler.tick()
        return self.cloud.take_calls()

    def ticks(self, seconds: int, step: int = 1) -> list[tuple[float, str]]:
        """Tick every `step` seconds; return each call with its time."""
        start = self.clock()
        return [
            (self.clock() - start, call) for _ in range(seconds // step) for call in self.tick(step)
        ]

    def record(self, name: Hostname | None = None) -> Record:
        return self.store.records.of(name or HOST)[A]

    def history(self) -> list[tuple[str, str]]:
        return [(entry.event, entry.why) for entry in reversed(self.store.history.find(HOST))]

    def fail_calls(self, error: DyndnsError | None, *methods: str) -> None:
        """Make calls of these methods fail, or all calls."""
        self.cloud.failures.clear()
        for method in methods or ("GET", "POST", "DELETE"):
            if error is not None:
                self.cloud.failures[method] = error


@pytest.fixture
def cloud() -> Cloud:
    return Cloud("example.com")


@pytest.fixture
def env(store: Store, cloud: Cloud, clock: Clock, sink: RecordingSink) -> Iterator[ReconcilerEnv]:
    env = ReconcilerEnv(store, cloud, clock, sink)
    env.tick()
    yield env
    env.reconciler.stop()


@pytest.fixture
def other_env(
    other_store: Store, cloud: Cloud, clock: Clock, sink: RecordingSink
) -> Iterator[ReconcilerEnv]:
    """Another process."""
    other = ReconcilerEnv(other_store, cloud, clock, sink)
    yield other
    other.reconciler.stop()


def times(calls: Iterable[tuple[float, str]], *kinds: str) -> list[float]:
    return [at for at, made in calls if made in kinds]


class TestAnUpdate:
    def test_is_published_after_the_grace_period_of_its_request(
        self, env: ReconcilerEnv, cloud: Cloud, sink: RecordingSink
    ) -> None:
        env.set_desired(FIRST, grace=10)
        assert env.tick(9) == []
        assert env.tick(1) == [LIST, READ, CREATE]
        assert cloud.values("host", "A") == [FIRST]
        assert sink.events == [Published(HOST, A, "none", FIRST, "requested by 198.51.100.1")]

    def test_makes_no_call_once_published(self, env: ReconcilerEnv) -> None:
        env.publish(FIRST)
        env.store.records.note_actions([(env.record(), None)])
        assert env.ticks(100) == []

    def test_is_retried_with_growing_pauses_while_hetzner_is_unreachable(
        self, env: ReconcilerEnv, sink: RecordingSink
    ) -> None:
        env.publish(FIRST, "other.example.com")  # loads the list of zones
        env.fail_calls(UNREACHABLE)
        env.set_desired(SECOND)
        tries = times(env.ticks(400), READ, SET)
        pauses = [after - before for before, after in zip(tries, tries[1:])]
        # Each pause is at least half of the longest one.
        for pause, longest in zip(pauses, (5, 10, 20, 40, 60, 60, 60, 60)):
            assert longest / 2 <= pause <= longest + 6, pauses
        assert len(sink.heard(Postponed)) == 1, "one report per cause, not per attempt"
        assert env.record().attempts == len(tries)

    def test_is_published_soon_after_an_outage(
        self, env: ReconcilerEnv, cloud: Cloud, sink: RecordingSink
    ) -> None:
        env.fail_calls(UNREACHABLE)
        env.set_desired(FIRST)
        env.ticks(300)
        env.fail_calls(None)
        env.ticks(66)
        assert cloud.values("host", "A") == [FIRST]
        assert len(sink.heard(Cleared)) == 1

    def test_is_not_retried_before_the_retry_after_of_hetzner(self, env: ReconcilerEnv) -> None:
        env.fail_calls(HetznerBusy("Hetzner is busy.", retry_after=500))
        env.set_desired(FIRST)
        assert env.tick() == [LIST]
        assert env.ticks(490, 10) + env.ticks(9) == []
        assert env.tick() == [LIST]

    def test_that_a_newer_one_supersedes_is_dropped(self, env: ReconcilerEnv, cloud: Cloud) -> None:
        env.fail_calls(UNREACHABLE)
        env.set_desired(FIRST)
        env.ticks(20)
        env.set_desired(SECOND)
        env.fail_calls(None)
        calls = env.ticks(60)
        assert [call for _, call in calls if call.startswith("POST")] == [CREATE]
        assert cloud.values("host", "A") == [SECOND]

    def test_to_remove_a_record_is_retried(self, env: ReconcilerEnv, cloud: Cloud) -> None:
        env.publish(FIRST)
        env.store.records.set_desired(removal(A), env.clock(), 0)
        env.ticks(2)
        assert cloud.rrsets == {}


def test_a_backlog_is_published_in_one_tick_a_few_hosts_at_a_time(
    env: ReconcilerEnv, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    call, free, is_within = cloud.call, threading.Semaphore(8), []

    def counted(*arguments: object, **options: object) -> object:
        is_within.append(free.acquire(blocking=False))
        try:
            return call(*arguments, **options)
        finally:
            free.release()

    monkeypatch.setattr(cloud, "call", counted)
    names = [f"host{number}.example.com" for number in range(30)]
    for name in names:
        env.set_desired(FIRST, name)
    env.tick()
    assert all(cloud.values(name.split(".")[0], "A") == [FIRST] for name in names)
    assert all(is_within)


def test_a_backlog_leaves_the_reserve_of_the_quota(
    env: ReconcilerEnv, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        env.set_desired(FIRST, f"host{number}.example.com")
    call = cloud.call

    def last_calls(*arguments: object, **options: object) -> object:
        cloud.is_low = len(cloud.calls) >= 20
        return call(*arguments, **options)

    monkeypatch.setattr(cloud, "call", last_calls)
    assert 20 <= len(env.tick()) <= 20 + 2 * 8


def test_a_stopped_reconciler_leaves_the_rest_of_a_backlog(
    env: ReconcilerEnv, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        env.set_desired(FIRST, f"host{number}.example.com")
    call = cloud.call

    def stopping(*arguments: object, **options: object) -> object:
        env.reconciler.stop()
        return call(*arguments, **options)

    monkeypatch.setattr(cloud, "call", stopping)
    assert 0 < env.tick().count(CREATE) <= 8


def test_an_outage_is_probed_with_few_hosts_until_it_ends(env: ReconcilerEnv, cloud: Cloud) -> None:
    names = [f"host{number}.example.com" for number in range(30)]
    env.publish(FIRST, "first.example.com")
    env.fail_calls(UNREACHABLE)
    for name in names:
        env.set_desired(FIRST, name)
    tries = times(env.ticks(120), READ)
    assert len(tries) <= 8 + 120 / 5, "30 hosts must make no more calls than a few"
    env.fail_calls(None)
    env.ticks(6)
    assert all(cloud.values(name.split(".")[0], "A") == [FIRST] for name in names)


def test_an_outage_of_one_project_does_not_delay_another(
    store: Store, cloud: Cloud, clock: Clock, sink: RecordingSink
) -> None:
    other = Cloud("example.net")
    env = ReconcilerEnv(store, cloud, clock, sink, others=[other])
    env.publish(FIRST, "first.example.net")
    for method in ("GET", "POST"):
        other.failures[method] = UNREACHABLE
    for number in range(8):
        env.set_desired(FIRST, f"host{number}.example.net")
    env.ticks(10)
    other.take_calls()
    for number in range(8):
        env.set_desired(FIRST, f"host{number}.example.com")
    env.ticks(3)
    assert all(cloud.values(f"host{number}", "A") == [FIRST] for number in range(8))
    env.ticks(57)
    tries = other.take_calls().count("GET /zones/example.net/rrsets")
    assert 0 < tries <= 60 / 5, "one host at a time tries the other project"
    other.failures.clear()
    env.ticks(6)
    assert all(other.values(f"host{number}", "A", "example.net") == [FIRST] for number in range(8))
    env.reconciler.stop()


def test_setting_the_clock_back_does_not_stop_retries_or_polls(
    env: ReconcilerEnv, cloud: Cloud
) -> None:
    env.fail_calls(UNREACHABLE)
    env.set_desired(FIRST)
    env.tick()
    env.fail_calls(None)
    env.tick(-DAY)
    assert cloud.values("host", "A") == [FIRST]
    cloud.end(env.record().action)
    env.tick(-DAY)
    assert env.record().state is State.PUBLISHED


class TestARefusedUpdate:
    @pytest.fixture(autouse=True)
    def _refused(self, env: ReconcilerEnv) -> None:
        env.publish(FIRST)
        env.store.records.note_actions([(env.record(), None)])
        env.fail_calls(PROTECTED, "POST")
        env.publish(SECOND)
        assert env.record().state is State.REFUSED

    def test_is_retried_with_pauses_of_up_to_an_hour(self, env: ReconcilerEnv) -> None:
        tries = times(env.ticks(8 * 3600, 60), SET)
        pauses = [after - before for before, after in zip(tries, tries[1:])]
        assert 60 <= pauses[0] <= 180
        assert len(pauses[6:]) >= 3
        assert all(1800 <= pause <= 3660 for pause in pauses[6:])

    @pytest.mark.parametrize("change", [{"example.org": "primary"}, {"example.net": "primary"}])
    def test_is_retried_when_the_list_of_zones_changes(
        self, env: ReconcilerEnv, cloud: Cloud, change: Mapping[str, str]
    ) -> None:
        cloud.zones["example.net"] = "secondary"
        env.zones.invalidate()
        env.zones.find(HOST, Deadline(5))
        env.ticks(10)
        assert env.ticks(10) == []
        cloud.zones.update(change)
        env.zones.invalidate()
        env.zones.find(HOST, Deadline(5))
        assert SET in [call for _, call in env.ticks(2)]

    def test_is_retried_by_a_new_leader(self, env: ReconcilerEnv, other_env: ReconcilerEnv) -> None:
        assert other_env.tick() == []
        env.reconciler.stop()
        assert other_env.tick() == [LIST, READ, SET]
        assert other_env.ticks(10) == []

    def test_is_retried_by_a_new_leader_after_a_store_error(
        self, env: ReconcilerEnv, other_env: ReconcilerEnv, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(_state: State, _now: float) -> None:
            raise StoreUnavailable("The store is busy.")

        env.reconciler.stop()
        with monkeypatch.context() as patch:
            patch.setattr(other_env.store.records, "retry_now", fail)
            with pytest.raises(StoreUnavailable):
                other_env.tick()
        assert other_env.tick() == [LIST, READ, SET]
        assert other_env.ticks(10) == []

    def test_and_its_end_are_each_reported_once(
        self, env: ReconcilerEnv, sink: RecordingSink
    ) -> None:
        env.ticks(2 * 3600, 60)
        env.fail_calls(None)
        env.store.records.retry(HOST, env.clock())
        env.tick()
        assert [event for event, _ in env.history()] == ["created", "refused", "replaced"]
        assert len(sink.heard(Cleared)) == 1


class TestAnAction:
    def test_is_polled_until_it_has_ended(self, env: ReconcilerEnv, cloud: Cloud) -> None:
        env.publish(FIRST)
        assert env.tick(3) == []
        cloud.end(env.record().action)
        assert env.tick(1) == [POLL]
        assert env.record().state is State.PUBLISHED
        assert env.ticks(600, 5) == []

    def test_is_polled_with_growing_pauses(self, env: ReconcilerEnv, cloud: Cloud) -> None:
        env.publish(FIRST)
        polls = times(env.ticks(100), POLL)
        assert polls == [4, 8, 16, 32, 64]
        cloud.end(env.record().action)
        env.ticks(60)
        assert env.record().state is State.PUBLISHED

    def test_is_polled_together_with_up_to_24_others(
        self, env: ReconcilerEnv, cloud: Cloud
    ) -> None:
        names = [f"host{number}.example.com" for number in range(30)]
        for name in names:
            env.publish(FIRST, name)
            cloud.end(env.record(host(name)).action)
        assert env.tick(4) == [POLL, POLL]
        assert sorted(len(ids) for ids in cloud.polled) == [5, 25]
        assert all(env.record(host(name)).state is State.PUBLISHED for name in names)

    def test_that_fails_makes_the_update_pending_until_rewritten(
        self, env: ReconcilerEnv, cloud: Cloud, sink: RecordingSink
    ) -> None:
        env.publish(FIRST)
        cloud.end(env.record().action, "error", "Zone is broken")
        assert env.tick(4) == [POLL]
        record = env.record()
        assert (record.state, record.attempts) == (State.PENDING, 1)
        cause = "Hetzner could not publish the record: Zone is broken."
        assert record.error == cause
        assert sink.heard(Postponed) == [Postponed(HOST, A, cause)]
        calls = env.ticks(5)
        assert [call for _, call in calls] == [READ, SET], (
            "the address must be written again although the API shows it"
        )
        cloud.end(env.record().action)
        env.ticks(5)
        assert env.record().state is State.PUBLISHED
        assert len(sink.heard(Cleared)) == 1
        assert env.history() == [("created", "requested by 198.51.100.1"), ("postponed", cause)]

    def test_that_takes_two_minutes_is_abandoned_and_rewritten(
        self, env: ReconcilerEnv, cloud: Cloud
    ) -> None:
        env.publish(FIRST)
        calls = env.ticks(130)
        assert [call for _, call in calls] == [POLL] * 6 + [READ, SET]
        assert "doesn't confirm that it has published the record" in env.record().error
        cloud.end(env.record().action)
        env.ticks(10)
        assert env.record().state is State.PUBLISHED

    def test_from_before_the_clock_was_set_back_is_abandoned(self, env: ReconcilerEnv) -> None:
        env.publish(FIRST)
        env.clock.advance(-DAY)
        calls = env.ticks(7)
        assert [call for _, call in calls] == [POLL, READ, SET]

    @pytest.mark.parametrize("error", [None, ChangeRefused("Update hetzner-dyndns.")])
    def test_that_cannot_be_followed_ends_when_the_record_shows(
        self, env: ReconcilerEnv, cloud: Cloud, sink: RecordingSink, error: DyndnsError | None
    ) -> None:
        cloud.has_no_actions = True
        if error is not None:
            cloud.failures[POLL] = error
        for name in ("host.example.com", "nas.example.com"):
            env.publish(FIRST, name)
        calls = [call for _, call in env.ticks(600)]
        assert calls == [POLL, READ, READ], "no value is written again"
        assert env.record().state is State.PUBLISHED
        (event,) = sink.heard(ActionsUnknown)
        assert event == ActionsUnknown(str(error or "GET /actions doesn't list its action."))

    def test_whose_answer_stays_malformed_ends_when_the_record_shows(
        self, env: ReconcilerEnv, cloud: Cloud, sink: RecordingSink
    ) -> None:
        env.publish(FIRST)
        cloud.failures[POLL] = HetznerMalformed("Hetzner sends JSON in an unknown form.")
        calls = [call for _, call in env.ticks(600)]
        assert calls == [POLL] * 6 + [READ], "a few tries, then the record decides"
        assert env.record().state is State.PUBLISHED
        assert [event.error for event in sink.heard(ActionsUnknown)] == [
            "Hetzner sends JSON in an unknown form."
        ]

    def test_whose_answer_stays_malformed_is_repeated_without_its_record(
        self, env: ReconcilerEnv, cloud: Cloud
    ) -> None:
        env.publish(FIRST)
        cloud.failures[POLL] = HetznerMalformed("Hetzner sends JSON in an unknown form.")
        cloud.publish("host.example.com", "A", SECOND)
        assert SET in [call for _, call in env.ticks(200)]

    @pytest.mark.parametrize("error", [UNREACHABLE, BUSY])
    def test_is_still_followed_after_an_outage(
        self, env: ReconcilerEnv, cloud: Cloud, error: DyndnsError
    ) -> None:
        env.publish(FIRST)
        env.fail_calls(error)
        env.ticks(600, 10)
        assert env.record().state is State.PUBLISHING
        env.fail_calls(None)
        cloud.end(env.record().action)
        assert SET not in [call for _, call in env.ticks(120)]
        assert env.record().state is State.PUBLISHED

    def test_that_cannot_be_followed_is_repeated_without_its_record(
        self, env: ReconcilerEnv, cloud: Cloud
    ) -> None:
        env.publish(FIRST)
        cloud.has_no_actions = True
        cloud.publish("host.example.com", "A", SECOND)
        calls = [call for _, call in env.ticks(12)]
        assert calls[:4] == [POLL, READ, READ, SET]
        env.ticks(10)
        assert env.record().state is State.PUBLISHED

    def test_that_always_fails_is_repeated_after_growing_pauses(
        self, env: ReconcilerEnv, cloud: Cloud, sink: RecordingSink
    ) -> None:
        env.publish(FIRST)
        writes = []
        for _ in range(4 * 3600 // 10):
            cloud.end(env.record().action, "error")
            writes += [env.clock() for call in env.tick(10) if call == SET]
            env.publish(FIRST)  # as the host's next request
        pauses = [after - before for before, after in zip(writes, writes[1:])]
        assert 8 <= len(pauses) <= 16
        assert pauses[-1] > 1000
        (event,) = sink.heard(Postponed)
        assert "gives no reason" in str(event)

    @pytest.mark.parametrize("error", [UNREACHABLE, BUSY, PROTECTED])
    def test_is_polled_again_after_a_failed_poll(
        self, env: ReconcilerEnv, cloud: Cloud, error: DyndnsError
    ) -> None:
        env.publish(FIRST)
        env.fail_calls(error)
        polls = times(env.ticks(60), POLL)
        assert polls == [4, 8, 16, 32]
        assert env.record().state is State.PUBLISHING
        assert env.record().error == ""
        env.fail_calls(None)
        cloud.end(env.record().action)
        env.ticks(60)
        assert env.record().state is State.PUBLISHED

    @pytest.mark.parametrize("reason", ["missing zone", "revoked token"])
    def test_that_cannot_be_polled_is_abandoned_and_reported(
        self, env: ReconcilerEnv, cloud: Cloud, sink: RecordingSink, reason: str
    ) -> None:
        env.publish(FIRST)
        if reason == "missing zone":
            cloud.zones.clear()
            env.zones.invalidate()
        else:
            env.fail_calls(TokenRejected("The token was revoked."))
        env.ticks(100)
        assert env.record().state is State.PUBLISHING
        env.ticks(100)
        assert env.record().state is State.REFUSED
        assert len(sink.heard(Refused)) == 1

    def test_of_an_older_update_does_not_end_a_newer_one(
        self, env: ReconcilerEnv, cloud: Cloud
    ) -> None:
        env.publish(FIRST)
        cloud.end(env.record().action)
        env.publish(SECOND)
        env.tick(4)
        assert env.record().state is State.PUBLISHING


class TestTheQuotaReserve:
    def test_is_kept_for_requests(self, env: ReconcilerEnv, cloud: Cloud) -> None:
        env.publish(FIRST)
        env.set_desired(SECOND, "other.example.com")
        cloud.is_low = True
        assert env.ticks(600, 10) == []
        env.publish(SECOND)
        assert cloud.values("host", "A") == [SECOND], "requests may use the reserve"
        cloud.is_low = False
        assert CREATE in env.tick()
        assert POLL in [call for _, call in env.ticks(60)]

    def test_of_one_project_does_not_delay_other_projects(
        self, store: Store, cloud: Cloud, clock: Clock, sink: RecordingSink
    ) -> None:
        other = Cloud("example.net")
        env = ReconcilerEnv(store, cloud, clock, sink, others=[other])
        env.publish(FIRST)
        cloud.end(env.record().action)
        for number in range(9):
            env.publish(FIRST, f"host{number}.example.net")
            env.set_desired(SECOND, f"host{number}.example.net")
        env.set_desired(SECOND, "other.example.com")
        other.take_calls()
        other.is_low = True
        calls = [call for _, call in env.ticks(10)]
        assert other.take_calls() == []
        assert {POLL, CREATE} <= set(calls)
        assert env.record().state is State.PUBLISHED
        assert cloud.values("other", "A") == [SECOND]

    def test_is_not_mistaken_for_an_outage(self, env: ReconcilerEnv, cloud: Cloud) -> None:
        cloud.is_short = True
        for number in range(5):
            env.publish(f"198.51.100.{number + 1}")
        assert env.record().state is State.PENDING
        assert env.tick(200) == []  # the attempt is limited
        for number in range(4):
            env.set_desired(FIRST, f"host{number}.example.com")
        assert env.tick().count(CREATE) == 4

    def test_does_not_delay_pruning_the_history(self, env: ReconcilerEnv, cloud: Cloud) -> None:
        env.store.records.note(
            Accepted(_desired(env), None, ChangeNote("old", None, "")), env.clock()
        )
        cloud.is_low = True
        env.tick(91 * DAY)
        assert env.history() == []


class TestTheLeader:
    def test_works_until_it_stops(self, env: ReconcilerEnv, other_env: ReconcilerEnv) -> None:
        env.set_desired(FIRST)
        assert other_env.tick() == []
        env.reconciler.stop()
        assert other_env.tick() == [LIST, READ, CREATE]
        env.set_desired(SECOND)
        assert env.tick() == []

    def test_is_replaced_when_it_stops_renewing_its_lease(
        self, env: ReconcilerEnv, other_env: ReconcilerEnv
    ) -> None:
        env.tick()
        env.set_desired(FIRST)
        waited = 0
        while not other_env.tick():
            waited += 1
        assert 20 <= waited <= 41

    def test_stops_when_another_process_has_taken_over(
        self, env: ReconcilerEnv, other_store: Store
    ) -> None:
        class SlowCloud(Cloud):
            """Answers polls so slowly that the lease expires."""

            def _state(self, number: int) -> dict[str, Any]:
                env.clock.advance(60)
                assert other_store.leases.acquire("reconciler", "other", env.clock(), 40)
                return super()._state(number)

        slow = SlowCloud("example.com")
        env = ReconcilerEnv(env.store, slow, env.clock, env.sink)
        env.tick(100)
        env.publish(FIRST)
        env.set_desired(SECOND, "other.example.com")
        assert env.tick(4) == [POLL]


class TestHistory:
    def test_is_pruned_hourly_of_old_entries(self, env: ReconcilerEnv) -> None:
        record = _desired(env)
        for age in (91.0, 89.0):
            at = env.clock() - age * DAY
            env.store.records.note(
                Accepted(record, None, ChangeNote(f"{age:.0f} days", None, "")), at
            )
        env.tick(3599)
        assert len(env.history()) == 2
        env.tick(1)
        assert [event for event, _ in env.history()] == ["89 days"]

    def test_records_that_a_manual_change_was_reverted(
        self, env: ReconcilerEnv, cloud: Cloud
    ) -> None:
        env.publish(FIRST)
        env.store.records.note_actions([(env.record(), None)])
        cloud.publish("host.example.com", "A", "198.51.100.66")
        env.clock.advance(301)
        env.publish(FIRST)
        (entry, _) = env.store.history.find(HOST)
        assert (entry.event, entry.old, entry.new) == ("replaced", "198.51.100.66", FIRST)
        assert entry.why == "restored: it was changed at Hetzner"
        assert (entry.source, entry.protocol) == ("198.51.100.1", "dyndns2")

    def test_records_that_a_manual_deletion_was_reverted(
        self, env: ReconcilerEnv, cloud: Cloud
    ) -> None:
        env.publish(FIRST)
        env.store.records.note_actions([(env.record(), None)])
        cloud.rrsets.clear()
        env.clock.advance(301)
        env.publish(FIRST)
        (entry, _) = env.store.history.find(HOST)
        assert (entry.event, entry.old, entry.new) == ("created", None, FIRST)
        assert entry.why == "restored: it was changed at Hetzner"

    def test_records_a_removal(self, env: ReconcilerEnv) -> None:
        env.publish(FIRST)
        env.store.records.set_desired(removal(A), env.clock(), 0)
        env.tick()
        (entry, _) = env.store.history.find(HOST)
        assert (entry.event, entry.old, entry.new) == ("deleted", FIRST, None)


def _desired(env: ReconcilerEnv) -> Record:
    env.set_desired(FIRST, grace=10**9)
    return env.record()
