from __future__ import annotations

import contextlib
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

import pytest

from backend.errors import (
    ChangeRefused,
    DyndnsError,
    HetznerBusy,
    HetznerUnreachable,
    StoreUnavailable,
    TokenRejected,
)
from backend.events import Cleared, Postponed, Published, Refused
from backend.hetzner.dns import Hetzner
from backend.hetzner.zones import Zones
from backend.model import Deadline, Hostname, RecordType
from backend.store import Accepted, ChangeNote, Record, State, Store
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
AWAY, BUSY = HetznerUnreachable("Hetzner is away."), HetznerBusy("Hetzner is busy.")
PROTECTED = ChangeRefused("It is protected.")


class Cloud(FakeCloudApi):
    """Knows actions, too: each runs until a test lets it end."""

    def __init__(self, *zones: str) -> None:
        super().__init__(*zones)
        self.ended: Dict[int, Tuple[str, str]] = {}
        self.forgotten = False
        self.asked: List[List[int]] = []

    def end(self, action: Optional[int], status: str = "success", error: str = "") -> None:
        assert action is not None
        self.ended[action] = (status, error)

    def _answer(
        self,
        method: str,
        parts: List[str],
        query: Tuple[Tuple[str, str], ...],
        body: Mapping[str, Any],
    ) -> Dict[str, Any]:
        if parts != ["actions"]:
            return super()._answer(method, parts, query, body)
        ids = [int(value) for _, value in query]
        self.asked.append(ids)
        return {"actions": [] if self.forgotten else [self._state(number) for number in ids]}

    def _state(self, number: int) -> Dict[str, Any]:
        status, message = self.ended.get(number, ("running", ""))
        error = {"code": "action_failed", "message": message} if status == "error" else None
        return {"id": number, "status": status, "error": error}


class Office:
    """One process: a publisher, and a reconciler that ticks when a test says so."""

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
        """Let a request store an update and publish it, as far as possible."""
        asked = update(address, name=name)
        with contextlib.suppress(DyndnsError):
            self.publisher.publish(host(name), (A,), Deadline(5), asked)

    def tick(self, seconds: float = 1.0) -> List[str]:
        """Let time pass and the reconciler do what is due; return its calls."""
        self.clock.advance(seconds)
        self.cloud.take_calls()
        self.reconciler.tick()
        return self.cloud.take_calls()

    def ticks(self, seconds: int, step: int = 1) -> List[Tuple[float, str]]:
        """Tick every second, or in longer steps; return the calls, each with when it was made."""
        start = self.clock()
        return [
            (self.clock() - start, call) for _ in range(seconds // step) for call in self.tick(step)
        ]

    def record(self, name: Optional[Hostname] = None) -> Record:
        return self.store.records.of(name or HOST)[A]

    def told(self) -> List[Tuple[str, str]]:
        return [(entry.event, entry.why) for entry in reversed(self.store.history.find(HOST))]

    def fails(self, error: Optional[DyndnsError], *methods: str) -> None:
        """Let calls of these methods fail from now on, or all calls."""
        self.cloud.failures.clear()
        for method in methods or ("GET", "POST", "DELETE"):
            if error is not None:
                self.cloud.failures[method] = error


@pytest.fixture
def cloud() -> Cloud:
    return Cloud("example.com")


@pytest.fixture
def office(store: Store, cloud: Cloud, clock: Clock, sink: RecordingSink) -> Iterator[Office]:
    office = Office(store, cloud, clock, sink)
    office.tick()
    yield office
    office.reconciler.stop()


@pytest.fixture
def other_office(
    other_store: Store, cloud: Cloud, clock: Clock, sink: RecordingSink
) -> Iterator[Office]:
    """Another process."""
    other = Office(other_store, cloud, clock, sink)
    yield other
    other.reconciler.stop()


def times(calls: Iterable[Tuple[float, str]], *kinds: str) -> List[float]:
    return [at for at, made in calls if made in kinds]


class TestAUpdate:
    def test_is_left_to_the_request_that_brought_it_and_then_published(
        self, office: Office, cloud: Cloud, sink: RecordingSink
    ) -> None:
        office.set_desired(FIRST, grace=10)
        assert office.tick(9) == []
        assert office.tick(1) == [LIST, READ, CREATE]
        assert cloud.values("host", "A") == [FIRST]
        assert sink.events == [Published(HOST, A, "none", FIRST, "requested by 198.51.100.1")]

    def test_that_is_published_costs_nothing_more(self, office: Office) -> None:
        office.publish(FIRST)
        office.store.records.finish(office.record())
        assert office.ticks(100) == []

    def test_is_retried_in_growing_pauses_up_to_a_minute_while_hetzner_is_away(
        self, office: Office, sink: RecordingSink
    ) -> None:
        office.publish(FIRST, "other.example.com")  # the zones are known
        office.fails(AWAY)
        office.set_desired(SECOND)
        tries = times(office.ticks(600), READ, SET)
        pauses = [after - before for before, after in zip(tries, tries[1:])]
        # Each is half of what it may be at least.
        for pause, longest in zip(pauses, (5, 10, 20, 40, 60, 60, 60, 60)):
            assert longest / 2 <= pause <= longest + 6, pauses
        assert len(sink.heard(Postponed)) == 1, "once a cause, not once an attempt"
        assert office.record().attempts == len(tries)

    def test_is_published_soon_after_hetzner_is_back(
        self, office: Office, cloud: Cloud, sink: RecordingSink
    ) -> None:
        office.fails(AWAY)
        office.set_desired(FIRST)
        office.ticks(300)
        office.fails(None)
        office.ticks(66)
        assert cloud.values("host", "A") == [FIRST]
        assert len(sink.heard(Cleared)) == 1

    def test_waits_as_long_as_hetzner_asks_for(self, office: Office) -> None:
        office.fails(HetznerBusy("Hetzner is busy.", retry_after=500))
        office.set_desired(FIRST)
        assert office.tick() == [LIST]
        assert office.ticks(499) == []
        assert office.tick() == [LIST]

    def test_that_a_newer_one_supersedes_is_dropped(self, office: Office, cloud: Cloud) -> None:
        office.fails(AWAY)
        office.set_desired(FIRST)
        office.ticks(20)
        office.set_desired(SECOND)
        office.fails(None)
        calls = office.ticks(60)
        assert [call for _, call in calls if call.startswith("POST")] == [CREATE]
        assert cloud.values("host", "A") == [SECOND]

    def test_to_remove_a_record_is_retried_as_well(self, office: Office, cloud: Cloud) -> None:
        office.publish(FIRST)
        office.store.records.set_desired(removal(A), office.clock(), 0)
        office.ticks(2)
        assert cloud.rrsets == {}


def test_hosts_are_worked_on_a_few_at_a_time_and_none_is_forgotten(
    office: Office, cloud: Cloud
) -> None:
    names = [f"host{number}.example.com" for number in range(30)]
    for name in names:
        office.set_desired(FIRST, name)
    most = max(office.tick().count(CREATE) for _ in range(15))
    assert most == 4
    assert all(cloud.values(name.split(".")[0], "A") == [FIRST] for name in names)


def test_while_hetzner_is_away_one_host_is_tried_for_all_and_all_are_tried_once_it_is_back(
    office: Office, cloud: Cloud
) -> None:
    names = [f"host{number}.example.com" for number in range(30)]
    office.publish(FIRST, "first.example.com")
    office.fails(AWAY)
    for name in names:
        office.set_desired(FIRST, name)
    tries = times(office.ticks(120), READ)
    assert len(tries) <= 4 + 120 / 5, "30 hosts cost what a few do"
    office.fails(None)
    office.ticks(6 + 30 // 4 + 1)
    assert all(cloud.values(name.split(".")[0], "A") == [FIRST] for name in names)


def test_a_clock_that_is_set_back_stops_nothing(office: Office, cloud: Cloud) -> None:
    office.fails(AWAY)
    office.set_desired(FIRST)
    office.tick()
    office.fails(None)
    office.tick(-DAY)
    assert cloud.values("host", "A") == [FIRST]
    cloud.end(office.record().action)
    office.tick(-DAY)
    assert office.record().state is State.PUBLISHED


class TestARefusedUpdate:
    @pytest.fixture(autouse=True)
    def _refused(self, office: Office) -> None:
        office.publish(FIRST)
        office.store.records.finish(office.record())
        office.fails(PROTECTED, "POST")
        office.publish(SECOND)
        assert office.record().state is State.REFUSED

    def test_is_retried_hourly(self, office: Office) -> None:
        tries = times(office.ticks(3 * 3600 + 60, 10), SET)
        assert len(tries) == 3
        assert all(3600 <= after - before <= 3610 for before, after in zip(tries, tries[1:]))

    def test_is_retried_when_a_zone_has_come_or_gone(self, office: Office, cloud: Cloud) -> None:
        assert office.ticks(10) == []
        cloud.zones["example.net"] = "primary"
        office.zones.invalidate()
        office.zones.find(HOST, Deadline(5))
        assert SET in [call for _, call in office.ticks(2)]

    def test_is_retried_by_a_new_leader_who_may_have_new_tokens(
        self, office: Office, other_office: Office
    ) -> None:
        assert other_office.tick() == []
        office.reconciler.stop()
        assert other_office.tick() == [LIST, READ, SET]
        assert other_office.ticks(10) == []

    def test_is_retried_by_a_new_leader_whose_store_fails_at_that_moment(
        self, office: Office, other_office: Office, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(_state: State, _now: float) -> None:
            raise StoreUnavailable("The store is busy.")

        office.reconciler.stop()
        with monkeypatch.context() as patch:
            patch.setattr(other_office.store.records, "retry_now", fail)
            with pytest.raises(StoreUnavailable):
                other_office.tick()
        assert other_office.tick() == [LIST, READ, SET]
        assert other_office.ticks(10) == []

    def test_is_retried_at_a_new_request(self, office: Office, cloud: Cloud) -> None:
        office.fails(None)
        office.publish(SECOND)
        assert cloud.values("host", "A") == [SECOND]

    def test_is_told_once_and_so_is_its_end(self, office: Office, sink: RecordingSink) -> None:
        office.ticks(2 * 3600, 30)
        office.fails(None)
        office.ticks(3660, 30)
        assert [event for event, _ in office.told()] == ["created", "refused", "replaced"]
        assert len(sink.heard(Cleared)) == 1


class TestAnAction:
    def test_is_asked_about_when_it_may_be_over_and_never_again(
        self, office: Office, cloud: Cloud
    ) -> None:
        office.publish(FIRST)
        assert office.tick(3) == []
        cloud.end(office.record().action)
        assert office.tick(1) == [POLL]
        assert office.record().state is State.PUBLISHED
        assert office.ticks(600) == []

    def test_that_takes_long_is_asked_about_ever_less_often(
        self, office: Office, cloud: Cloud
    ) -> None:
        office.publish(FIRST)
        polls = times(office.ticks(100), POLL)
        assert polls == [4, 8, 16, 32, 64]
        cloud.end(office.record().action)
        office.ticks(60)
        assert office.record().state is State.PUBLISHED

    def test_shares_a_call_with_up_to_24_others(self, office: Office, cloud: Cloud) -> None:
        names = [f"host{number}.example.com" for number in range(30)]
        for name in names:
            office.publish(FIRST, name)
            cloud.end(office.record(host(name)).action)
        assert office.tick(4) == [POLL, POLL]
        assert sorted(len(ids) for ids in cloud.asked) == [5, 25]
        assert all(office.record(host(name)).state is State.PUBLISHED for name in names)

    def test_that_ends_in_error_makes_the_update_pending_with_the_cause_and_is_written_again(
        self, office: Office, cloud: Cloud, sink: RecordingSink
    ) -> None:
        office.publish(FIRST)
        cloud.end(office.record().action, "error", "Zone is broken")
        assert office.tick(4) == [POLL]
        record = office.record()
        assert (record.state, record.attempts) == (State.PENDING, 1)
        cause = "Hetzner could not publish the record: Zone is broken."
        assert record.error == cause
        assert sink.heard(Postponed) == [Postponed(HOST, A, cause)]
        calls = office.ticks(5)
        assert [call for _, call in calls] == [READ, SET], "the API shows it, the DNS doesn't"
        cloud.end(office.record().action)
        office.ticks(5)
        assert office.record().state is State.PUBLISHED
        assert len(sink.heard(Cleared)) == 1
        assert office.told() == [("created", "requested by 198.51.100.1"), ("postponed", cause)]

    def test_that_never_ends_is_given_up_after_two_minutes_and_written_again(
        self, office: Office, cloud: Cloud
    ) -> None:
        office.publish(FIRST)
        calls = office.ticks(130)
        assert [call for _, call in calls] == [POLL] * 6 + [READ, SET]
        assert "doesn't confirm that it has published the record" in office.record().error
        cloud.end(office.record().action)
        office.ticks(10)
        assert office.record().state is State.PUBLISHED

    def test_that_hetzner_knows_nothing_of_is_written_again(
        self, office: Office, cloud: Cloud
    ) -> None:
        office.publish(FIRST)
        cloud.forgotten = True
        assert [call for _, call in office.ticks(10)] == [POLL, READ, SET]

    @pytest.mark.parametrize("error", [AWAY, BUSY, PROTECTED])
    def test_is_waited_for_when_hetzner_cannot_tell(
        self, office: Office, cloud: Cloud, error: DyndnsError
    ) -> None:
        office.publish(FIRST)
        office.fails(error)
        polls = times(office.ticks(60), POLL)
        assert polls == [4, 8, 16, 32]
        assert office.record().state is State.PUBLISHING
        assert office.record().error == ""
        office.fails(None)
        cloud.end(office.record().action)
        office.ticks(60)
        assert office.record().state is State.PUBLISHED

    @pytest.mark.parametrize("reason", ["the zone is gone", "the token is bad"])
    def test_that_only_the_operator_can_have_asked_about_is_given_up_and_told(
        self, office: Office, cloud: Cloud, sink: RecordingSink, reason: str
    ) -> None:
        office.publish(FIRST)
        if reason == "the zone is gone":
            cloud.zones.clear()
            office.zones.invalidate()
        else:
            office.fails(TokenRejected("The token was revoked."))
        office.ticks(100)
        assert office.record().state is State.PUBLISHING
        office.ticks(100)
        assert office.record().state is State.REFUSED
        assert len(sink.heard(Refused)) == 1

    def test_of_an_older_update_does_not_end_a_newer_one(
        self, office: Office, cloud: Cloud
    ) -> None:
        office.publish(FIRST)
        cloud.end(office.record().action)
        office.publish(SECOND)
        office.tick(4)
        assert office.record().state is State.PUBLISHING


class TestTheReserveOfTheQuota:
    def test_is_left_to_requests_somebody_waits_for(self, office: Office, cloud: Cloud) -> None:
        office.publish(FIRST)
        office.set_desired(SECOND, "other.example.com")
        cloud.is_low = True
        assert office.ticks(600) == []
        office.publish(SECOND)
        assert cloud.values("host", "A") == [SECOND], "requests go first"
        cloud.is_low = False
        assert CREATE in office.tick()
        assert POLL in [call for _, call in office.ticks(60)]

    def test_of_one_project_keeps_no_other_from_its_work(
        self, store: Store, cloud: Cloud, clock: Clock, sink: RecordingSink
    ) -> None:
        other = Cloud("example.net")
        office = Office(store, cloud, clock, sink, others=[other])
        office.publish(FIRST)
        cloud.end(office.record().action)
        for number in range(9):
            office.publish(FIRST, f"host{number}.example.net")
            office.set_desired(SECOND, f"host{number}.example.net")
        office.set_desired(SECOND, "other.example.com")
        other.take_calls()
        other.is_low = True
        calls = [call for _, call in office.ticks(10)]
        assert other.take_calls() == []
        assert {POLL, CREATE} <= set(calls)
        assert office.record().state is State.PUBLISHED
        assert cloud.values("other", "A") == [SECOND]

    def test_that_a_host_has_had_its_share_of_it_does_not_mean_that_hetzner_is_away(
        self, office: Office, cloud: Cloud
    ) -> None:
        cloud.is_short = True
        for number in range(5):
            office.publish(f"198.51.100.{number + 1}")
        assert office.record().state is State.PENDING
        assert office.tick(200) == []  # it is tried, in vain
        for number in range(4):
            office.set_desired(FIRST, f"host{number}.example.com")
        assert office.tick().count(CREATE) == 4

    def test_does_not_keep_the_history_from_being_swept(self, office: Office, cloud: Cloud) -> None:
        office.store.records.note(
            Accepted(_desired(office), None, ChangeNote("old", None, "")), office.clock()
        )
        cloud.is_low = True
        office.tick(91 * DAY)
        assert office.told() == []


class TestOneProcessOfAll:
    def test_works_until_it_stops(self, office: Office, other_office: Office) -> None:
        office.set_desired(FIRST)
        assert other_office.tick() == []
        office.reconciler.stop()
        assert other_office.tick() == [LIST, READ, CREATE]
        office.set_desired(SECOND)
        assert office.tick() == []

    def test_is_replaced_when_it_is_not_heard_of_any_more(
        self, office: Office, other_office: Office
    ) -> None:
        office.tick()
        office.set_desired(FIRST)
        waited = 0
        while not other_office.tick():
            waited += 1
        assert 20 <= waited <= 41

    def test_stops_working_when_another_one_has_taken_over_meanwhile(
        self, office: Office, other_store: Store
    ) -> None:
        class Slow(Cloud):
            """Takes so long to answer about actions that the lease runs out."""

            def _state(self, number: int) -> Dict[str, Any]:
                office.clock.advance(60)
                assert other_store.leases.acquire("reconciler", "other", office.clock(), 40)
                return super()._state(number)

        slow = Slow("example.com")
        office = Office(office.store, slow, office.clock, office.sink)
        office.tick(100)
        office.publish(FIRST)
        office.set_desired(SECOND, "other.example.com")
        assert office.tick(4) == [POLL]


class TestTheHistory:
    def test_is_pruned_hourly_of_what_is_older_than_it_is_kept(self, office: Office) -> None:
        record = _desired(office)
        for age in (91.0, 89.0):
            at = office.clock() - age * DAY
            office.store.records.note(
                Accepted(record, None, ChangeNote(f"{age:.0f} days", None, "")), at
            )
        office.tick(3599)
        assert len(office.told()) == 2
        office.tick(1)
        assert [event for event, _ in office.told()] == ["89 days"]

    def test_tells_that_an_edit_by_hand_was_put_back(self, office: Office, cloud: Cloud) -> None:
        office.publish(FIRST)
        office.store.records.finish(office.record())
        cloud.publish("host.example.com", "A", "198.51.100.66")
        office.clock.advance(301)
        office.publish(FIRST)
        (entry, _) = office.store.history.find(HOST)
        assert (entry.event, entry.old, entry.new) == ("replaced", "198.51.100.66", FIRST)
        assert entry.why == "restored: it was changed at Hetzner"
        assert (entry.source, entry.protocol) == ("198.51.100.1", "dyndns2")

    def test_tells_that_a_deletion_by_hand_was_put_back(self, office: Office, cloud: Cloud) -> None:
        office.publish(FIRST)
        office.store.records.finish(office.record())
        cloud.rrsets.clear()
        office.clock.advance(301)
        office.publish(FIRST)
        (entry, _) = office.store.history.find(HOST)
        assert (entry.event, entry.old, entry.new) == ("created", None, FIRST)
        assert entry.why == "restored: it was changed at Hetzner"

    def test_tells_a_removal(self, office: Office) -> None:
        office.publish(FIRST)
        office.store.records.set_desired(removal(A), office.clock(), 0)
        office.tick()
        (entry, _) = office.store.history.find(HOST)
        assert (entry.event, entry.old, entry.new) == ("deleted", FIRST, None)


def _desired(office: Office) -> Record:
    office.set_desired(FIRST, grace=10**9)
    return office.record()
