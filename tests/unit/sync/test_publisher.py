from __future__ import annotations

import gc
import threading
import weakref

import pytest

from backend.errors import (
    ChangeRefused,
    CnameInTheWay,
    DyndnsError,
    HetznerBusy,
    HetznerUnreachable,
    HostBusy,
    SecondaryZone,
    ShareUsedUp,
    StoreUnavailable,
    TokenRejected,
    ZoneNotFound,
)
from backend.events import (
    Cleared,
    Confirmed,
    Contested,
    Postponed,
    Published,
    Refused,
    SeveralRecords,
)
from backend.hetzner.dns import Hetzner
from backend.hetzner.zones import Zones
from backend.model import Change, Deadline, RecordOutcome, RecordType, Requester, Update
from backend.store import Store
from backend.store.hosts import Record, State
from backend.store.records import Failed
from backend.sync.publisher import Publisher
from tests.unit.fakes import Clock, FakeCloudApi, RecordingSink, host, removal, update

HOST, NAME = host(), "host.example.com"
A, AAAA = RecordType.A, RecordType.AAAA
FIRST, SECOND = "198.51.100.1", "198.51.100.2"
CACHE_TTL = 300
RRSETS = "/zones/example.com/rrsets"
LIST, READ, CREATE = "GET /zones", f"GET {RRSETS}", f"POST {RRSETS}"
SET = f"POST {RRSETS}/host/A/actions/set_records"
CHANGE_TTL = f"POST {RRSETS}/host/A/actions/change_ttl"
DELETE = f"DELETE {RRSETS}/host/A"


class PublisherEnv:
    """A publisher and the components it needs, as one process has them."""

    def __init__(  # noqa: PLR0913
        self,
        store: Store,
        cloud: FakeCloudApi,
        clock: Clock,
        sink: RecordingSink,
        *,
        chosen_ttl: int | None = None,
        cache_ttl: float = CACHE_TTL,
    ) -> None:
        self.store, self.cloud, self.clock = store, cloud, clock
        zones = Zones([Hetzner(cloud, 21600, chosen_ttl)], 86400, clock)
        self.publisher = Publisher(store, zones, sink, cache_ttl=cache_ttl, clock=clock)

    def set_desired(self, desired: Update) -> None:
        self.store.records.set_desired(desired, self.clock(), 10)

    def publish(self, *kinds: RecordType) -> dict[RecordType, RecordOutcome]:
        return self.publisher.publish(HOST, kinds or (A,), Deadline(5))

    def update(self, *addresses: str) -> dict[RecordType, RecordOutcome] | DyndnsError:
        """Store an update, publish it, and return the outcomes or the error."""
        desired = update(*addresses)
        kinds = [one.type for one in desired.desired]
        try:
            attempt = self.publisher.begin(HOST, Deadline(5), desired)
            return self.publisher.complete(attempt, kinds)
        except DyndnsError as error:
            return error

    def change(self, *addresses: str) -> Change:
        outcomes = self.update(*addresses)
        assert isinstance(outcomes, dict), outcomes
        (result,) = outcomes.values()
        assert str(result.desired.address) == addresses[0]
        return result.change

    def error(self, *addresses: str) -> DyndnsError:
        error = self.update(*addresses)
        assert isinstance(error, DyndnsError), error
        return error

    def record(self, kind: RecordType = A) -> Record:
        return self.store.records.of(HOST)[kind]

    def is_up_to_date(self) -> bool:
        return self.publisher.is_up_to_date(self.record())

    def history(self) -> list[str]:
        return [entry.event for entry in reversed(self.store.history.find(HOST))]


@pytest.fixture
def env(store: Store, cloud: FakeCloudApi, clock: Clock, sink: RecordingSink) -> PublisherEnv:
    return PublisherEnv(store, cloud, clock, sink)


def test_a_first_update_lists_the_zones_reads_and_creates(
    env: PublisherEnv, cloud: FakeCloudApi, sink: RecordingSink
) -> None:
    assert env.change(FIRST) is Change.CREATED
    assert cloud.take_calls() == [LIST, READ, CREATE]
    assert cloud.values("host", "A") == [FIRST]
    assert env.record().state is State.PUBLISHING
    assert env.history() == ["created"]
    assert sink.events == [Published(HOST, A, "none", FIRST, "requested by 198.51.100.1")]


@pytest.mark.parametrize("address", [FIRST, SECOND])
def test_a_record_with_an_expired_check_is_read_before_writing(
    env: PublisherEnv, cloud: FakeCloudApi, clock: Clock, address: str
) -> None:
    env.update(FIRST)
    clock.advance(2 * CACHE_TTL)
    cloud.take_calls()
    env.change(address)
    assert cloud.take_calls() == [READ, SET][: 1 + (address == SECOND)]


def test_a_new_process_reads_a_record_before_writing(
    env: PublisherEnv, cloud: FakeCloudApi, clock: Clock, sink: RecordingSink
) -> None:
    env.update(FIRST)
    clock.advance(1)
    restarted = PublisherEnv(env.store, cloud, clock, sink, chosen_ttl=60)
    cloud.take_calls()
    restarted.update(SECOND)
    assert cloud.take_calls() == [LIST, READ, SET, CHANGE_TTL]


def test_a_record_is_read_before_writing_after_a_failure(
    env: PublisherEnv, cloud: FakeCloudApi
) -> None:
    env.update(FIRST)
    cloud.failures["POST"] = HetznerUnreachable("unreachable")
    env.error(SECOND)
    cloud.failures.clear()
    cloud.take_calls()
    env.publish()
    assert cloud.take_calls() == [READ, SET]


def test_a_comment_is_kept_without_another_read(env: PublisherEnv, cloud: FakeCloudApi) -> None:
    cloud.publish(NAME, "A", "198.51.100.9")
    (record,) = cloud.rrsets["example.com", "host", "A"]["records"]
    record["comment"] = "basement"
    env.update(FIRST)
    cloud.take_calls()
    env.update(SECOND)
    assert cloud.take_calls() == [SET]
    assert cloud.rrsets["example.com", "host", "A"]["records"] == [
        {"value": SECOND, "comment": "basement"}
    ]


def test_an_unchanged_update_makes_no_call(env: PublisherEnv, cloud: FakeCloudApi) -> None:
    env.update(FIRST)
    cloud.take_calls()
    assert env.change(FIRST) is Change.CACHED
    assert cloud.take_calls() == []
    assert env.history() == ["created"]


def test_an_ordinary_change_makes_one_call(
    env: PublisherEnv, cloud: FakeCloudApi, sink: RecordingSink
) -> None:
    env.update(FIRST)
    cloud.take_calls()
    assert env.change(SECOND) is Change.REPLACED
    assert cloud.take_calls() == [SET]
    assert cloud.values("host", "A") == [SECOND]
    assert sink.events[-1] == Published(HOST, A, FIRST, SECOND, "requested by 198.51.100.1")
    (entry, _) = env.store.history.find(HOST)
    assert (entry.event, entry.old, entry.new) == ("replaced", FIRST, SECOND)


def test_both_record_types_are_read_with_one_call(env: PublisherEnv, cloud: FakeCloudApi) -> None:
    results = env.update(FIRST, "2001:db8::1")
    assert isinstance(results, dict)
    assert [one.change for one in results.values()] == [Change.CREATED, Change.CREATED]
    assert cloud.take_calls() == [LIST, READ, CREATE, CREATE]
    assert cloud.values("host", "AAAA") == ["2001:db8::1"]


def test_both_record_types_are_written_at_the_same_time(
    env: PublisherEnv, cloud: FakeCloudApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    env.update(FIRST, "2001:db8::1")
    call, both = cloud.call, threading.Barrier(2)

    def meeting(*arguments: object, **options: object) -> object:
        both.wait(10)  # fails unless both calls have begun
        return call(*arguments, **options)

    monkeypatch.setattr(cloud, "call", meeting)
    results = env.update(SECOND, "2001:db8::2")
    assert isinstance(results, dict)
    assert [one.change for one in results.values()] == [Change.REPLACED, Change.REPLACED]
    assert (cloud.values("host", "A"), cloud.values("host", "AAAA")) == ([SECOND], ["2001:db8::2"])
    assert [entry.type for entry in env.store.history.find(HOST, limit=2)] == ["AAAA", "A"]


def test_an_update_does_not_change_the_other_record_type(
    env: PublisherEnv, cloud: FakeCloudApi
) -> None:
    cloud.publish(NAME, "AAAA", "2001:db8::1")
    env.update(FIRST)
    assert cloud.values("host", "AAAA") == ["2001:db8::1"]
    assert set(env.store.records.of(HOST)) == {A}


def test_a_record_without_an_update_is_not_published(
    env: PublisherEnv, cloud: FakeCloudApi
) -> None:
    assert env.publish(A) == {}
    assert cloud.calls == []


@pytest.mark.parametrize("name", ["example.com", "*.example.com", "a.b.c.example.com"])
def test_apex_wildcard_and_deep_names_are_published_in_their_zone(
    env: PublisherEnv, cloud: FakeCloudApi, name: str
) -> None:
    env.set_desired(update(FIRST, name=name))
    env.publisher.publish(host(name), (A,), Deadline(5))
    relative = name[: -len("example.com")].rstrip(".") or "@"
    assert cloud.values(relative, "A") == [FIRST]


def test_a_correct_record_is_not_written(
    env: PublisherEnv, cloud: FakeCloudApi, sink: RecordingSink
) -> None:
    cloud.publish(NAME, "A", FIRST)
    assert env.change(FIRST) is Change.UNCHANGED
    assert cloud.take_calls() == [LIST, READ]
    assert env.record().state is State.PUBLISHED
    (event,) = sink.events
    assert getattr(event, "old", "none") in ("none", FIRST), "a log line must not show `None`"


def test_a_replaced_record_keeps_its_comment_and_ttl(
    env: PublisherEnv, cloud: FakeCloudApi
) -> None:
    cloud.publish(NAME, "A", "198.51.100.8", "198.51.100.9", ttl=60, comment="router")
    env.update(FIRST)
    rrset = cloud.rrsets["example.com", "host", "A"]
    assert rrset == {"ttl": 60, "records": [{"value": FIRST, "comment": "router"}]}
    assert env.history() == ["several", "replaced"]
    assert env.store.history.find(HOST)[0].old == "198.51.100.8, 198.51.100.9"


def test_several_records_are_reported_once_before_they_are_replaced(
    env: PublisherEnv, cloud: FakeCloudApi, clock: Clock, sink: RecordingSink
) -> None:
    both = ("198.51.100.8", "198.51.100.9")
    cloud.publish(NAME, "A", *both)
    cloud.failures["POST"] = UNREACHABLE
    env.error(FIRST)
    warning = SeveralRecords(HOST, A, ", ".join(both), FIRST)
    assert sink.heard(SeveralRecords) == [warning]
    assert cloud.values("host", "A") == list(both), "nothing was replaced yet"
    cloud.failures.clear()
    env.change(FIRST)
    cloud.publish(NAME, "A", FIRST, "198.51.100.9")
    clock.advance(CACHE_TTL + 60)
    env.change(FIRST)
    assert sink.heard(SeveralRecords) == [warning]
    assert env.history() == ["several", "postponed", "replaced", "replaced"]


def test_a_configured_ttl_is_applied_once(
    store: Store, cloud: FakeCloudApi, clock: Clock, sink: RecordingSink
) -> None:
    env = PublisherEnv(store, cloud, clock, sink, chosen_ttl=300)
    cloud.publish(NAME, "A", FIRST, ttl=60)
    assert env.change(FIRST) is Change.UNCHANGED
    assert cloud.take_calls() == [LIST, READ, CHANGE_TTL]
    assert env.record().action is not None, "the change of the TTL is an action to poll"
    clock.advance(CACHE_TTL + 60)
    env.update(FIRST)
    assert cloud.take_calls() == [READ]


class TestCache:
    def test_is_valid_for_its_ttl_and_then_checked_once(
        self, env: PublisherEnv, cloud: FakeCloudApi, clock: Clock, sink: RecordingSink
    ) -> None:
        env.update(FIRST)
        clock.advance(CACHE_TTL - 1)
        assert env.is_up_to_date()
        clock.advance(1)
        assert not env.is_up_to_date()
        cloud.take_calls()
        assert env.change(FIRST) is Change.UNCHANGED
        assert cloud.take_calls() == [READ]
        assert env.is_up_to_date()
        assert sink.events[-1] == Confirmed(HOST, A)
        assert env.history() == ["created"]

    def test_can_be_disabled(
        self, store: Store, cloud: FakeCloudApi, clock: Clock, sink: RecordingSink
    ) -> None:
        env = PublisherEnv(store, cloud, clock, sink, cache_ttl=0)
        env.update(FIRST)
        env.store.records.note_actions([(env.record(), None)])
        cloud.take_calls()
        assert env.change(FIRST) is Change.UNCHANGED
        assert cloud.take_calls() == [READ]

    @pytest.mark.parametrize("is_finished", [True, False])
    def test_expires_when_the_clock_is_set_back(
        self, env: PublisherEnv, clock: Clock, *, is_finished: bool
    ) -> None:
        env.update(FIRST)
        if is_finished:
            env.store.records.note_actions([(env.record(), None)])
        clock.advance(-86400)
        assert not env.is_up_to_date()

    @pytest.mark.parametrize("state", ["pending", "postponed", "refused"])
    def test_excludes_updates_that_are_not_accepted(
        self, env: PublisherEnv, cloud: FakeCloudApi, state: str
    ) -> None:
        error = {"postponed": HetznerBusy("busy"), "refused": ChangeRefused("no")}.get(state)
        if error is None:
            env.set_desired(update(FIRST))
        else:
            cloud.failures["GET"] = error
            env.update(FIRST)
        assert not env.is_up_to_date()

    def test_is_shared_between_processes(
        self,
        env: PublisherEnv,
        other_store: Store,
        cloud: FakeCloudApi,
        clock: Clock,
        sink: RecordingSink,
    ) -> None:
        env.update(FIRST)
        cloud.take_calls()
        assert PublisherEnv(other_store, cloud, clock, sink).change(FIRST) is Change.CACHED
        assert cloud.take_calls() == []

    def test_excludes_an_address_replaced_in_between(
        self,
        env: PublisherEnv,
        other_store: Store,
        cloud: FakeCloudApi,
        clock: Clock,
        sink: RecordingSink,
    ) -> None:
        other = PublisherEnv(other_store, cloud, clock, sink)
        assert env.change(FIRST) is Change.CREATED
        assert other.change(SECOND) is Change.REPLACED
        assert env.change(FIRST) is Change.REPLACED
        assert cloud.values("host", "A") == [FIRST]

    def test_is_corrected_after_a_change_at_hetzner(
        self, env: PublisherEnv, cloud: FakeCloudApi, clock: Clock, sink: RecordingSink
    ) -> None:
        env.update(FIRST)
        cloud.publish(NAME, "A", "198.51.100.66")
        clock.advance(CACHE_TTL + 60)
        assert env.change(FIRST) is Change.REPLACED
        assert cloud.values("host", "A") == [FIRST]
        why = "restored: it was changed at Hetzner"
        assert sink.events[-1] == Published(HOST, A, "198.51.100.66", FIRST, why)

    def test_is_corrected_after_a_deletion_at_hetzner(
        self, env: PublisherEnv, cloud: FakeCloudApi, clock: Clock
    ) -> None:
        env.update(FIRST)
        cloud.rrsets.clear()
        clock.advance(CACHE_TTL + 60)
        assert env.change(FIRST) is Change.CREATED


class TestARemoval:
    def test_deletes_an_existing_record(
        self, env: PublisherEnv, cloud: FakeCloudApi, sink: RecordingSink
    ) -> None:
        env.update(FIRST)
        cloud.take_calls()
        env.set_desired(removal(A))
        assert env.publish(A)[A].change is Change.DELETED
        assert cloud.take_calls() == [READ, DELETE]
        assert cloud.rrsets == {}
        assert env.record().published is None
        assert sink.events[-1] == Published(HOST, A, FIRST, "none", "requested by 198.51.100.1")

    def test_of_a_missing_record_makes_one_read(
        self, env: PublisherEnv, cloud: FakeCloudApi
    ) -> None:
        env.set_desired(removal(A))
        assert env.publish(A)[A].change is Change.UNCHANGED
        assert cloud.take_calls() == [LIST, READ]
        assert env.publish(A)[A].change is Change.CACHED
        assert cloud.take_calls() == []

    def test_keeps_the_other_record_type(self, env: PublisherEnv, cloud: FakeCloudApi) -> None:
        env.update(FIRST, "2001:db8::1")
        env.set_desired(removal(A))
        env.publish(A)
        assert cloud.values("host", "AAAA") == ["2001:db8::1"]


UNREACHABLE = HetznerUnreachable("Hetzner is unreachable.")
BUSY = HetznerBusy("Hetzner is busy.", retry_after=120)


class TestAnOutage:
    @pytest.mark.parametrize("method", ["GET", "POST"])
    @pytest.mark.parametrize("error", [UNREACHABLE, BUSY])
    def test_postpones_the_update(
        self,
        env: PublisherEnv,
        cloud: FakeCloudApi,
        sink: RecordingSink,
        method: str,
        error: DyndnsError,
    ) -> None:
        cloud.failures[method] = error
        assert env.error(FIRST) is error
        record = env.record()
        assert (record.state, record.attempts) == (State.PENDING, 1)
        assert record.error == str(error)
        assert record.retry_at > env.clock()
        assert env.history() == ["postponed"]
        assert sink.events == [Postponed(HOST, A, str(error))]

    def test_is_reported_once_per_cause_and_when_it_is_cleared(
        self, env: PublisherEnv, cloud: FakeCloudApi, clock: Clock, sink: RecordingSink
    ) -> None:
        for error in (UNREACHABLE, UNREACHABLE, BUSY, BUSY):
            cloud.failures["GET"] = error
            env.update(FIRST)
            clock.advance(100)
        assert [event.error for event in sink.heard(Postponed)] == [str(UNREACHABLE), str(BUSY)]
        cloud.failures.clear()
        assert env.change(FIRST) is Change.CREATED
        assert sink.heard(Cleared) == [Cleared(HOST, A, 400)]
        assert sink.heard(Published)[0].why == "requested by 198.51.100.1, done at attempt 5"
        assert env.record().error == ""

    def test_is_not_reported_again_for_a_new_address(
        self, env: PublisherEnv, cloud: FakeCloudApi, sink: RecordingSink
    ) -> None:
        cloud.failures["GET"] = UNREACHABLE
        env.update(FIRST)
        env.update(SECOND)
        assert len(sink.events) == 1

    def test_only_delays_the_check_of_an_accepted_record(
        self, env: PublisherEnv, cloud: FakeCloudApi, clock: Clock, sink: RecordingSink
    ) -> None:
        env.update(FIRST)
        clock.advance(CACHE_TTL + 60)
        cloud.failures["GET"] = UNREACHABLE
        cloud.take_calls()
        for _ in range(3):
            assert env.change(FIRST) is Change.CACHED
        assert cloud.take_calls() == [READ], "only the first update checks the record"
        assert env.record().is_accepted
        assert sink.heard(Postponed, Refused) == []
        clock.advance(600)
        cloud.failures.clear()
        assert env.change(FIRST) is Change.UNCHANGED

    def test_for_one_record_type_does_not_delay_the_other(
        self, env: PublisherEnv, cloud: FakeCloudApi
    ) -> None:
        cloud.publish(NAME, "AAAA", "2001:db8::9")
        cloud.failures[CREATE] = UNREACHABLE  # A has to be created, AAAA to be set
        assert env.error(FIRST, "2001:db8::1") is UNREACHABLE
        assert cloud.values("host", "AAAA") == ["2001:db8::1"]
        assert env.record(AAAA).is_accepted

    def test_after_a_write_is_resolved_by_the_next_attempt(
        self, env: PublisherEnv, cloud: FakeCloudApi, sink: RecordingSink
    ) -> None:
        env.update(FIRST)
        env.store.records.note_actions([(env.record(), None)])
        cloud.lost_answers["POST"] = UNREACHABLE
        assert env.error(SECOND) is UNREACHABLE
        assert cloud.values("host", "A") == [SECOND], (
            "the change was made although its answer was lost"
        )
        cloud.lost_answers.clear()
        cloud.take_calls()
        assert env.change(SECOND) is Change.UNCHANGED
        assert cloud.take_calls() == [READ, SET]
        assert sink.heard(Published)[-1].old == FIRST, (
            "the change must be reported with the old address"
        )
        assert (env.store.history.find(HOST)[0].old, env.store.history.find(HOST)[0].new) == (
            FIRST,
            SECOND,
        )


REFUSALS = [
    ChangeRefused("It is protected."),
    TokenRejected("Check HETZNER_TOKEN."),
    CnameInTheWay("A CNAME is in the way."),
]


class TestARefusal:
    @pytest.mark.parametrize("error", REFUSALS, ids=lambda error: type(error).__name__)
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_is_stored_and_reported(
        self,
        env: PublisherEnv,
        cloud: FakeCloudApi,
        sink: RecordingSink,
        method: str,
        error: DyndnsError,
    ) -> None:
        cloud.failures[method] = error
        assert env.error(FIRST) is error
        record = env.record()
        assert (record.state, record.error) == (State.REFUSED, str(error))
        assert record.retry_at > env.clock()
        assert env.history() == ["refused"]
        assert sink.events == [Refused(HOST, A, str(error))]

    def test_and_its_end_are_each_reported_once(
        self, env: PublisherEnv, cloud: FakeCloudApi, clock: Clock, sink: RecordingSink
    ) -> None:
        cloud.failures["POST"] = REFUSALS[0]
        for _ in range(3):
            assert env.error(FIRST) is REFUSALS[0]
            clock.advance(3600)
        assert len(sink.events) == 1
        assert env.history() == ["refused"]
        cloud.failures.clear()
        assert env.change(FIRST) is Change.CREATED
        assert len(sink.heard(Cleared)) == 1

    @pytest.mark.parametrize("reason", ["a minute", "the operator", "another address"])
    def test_is_repeated_only_when_its_cause_may_be_gone(
        self, env: PublisherEnv, cloud: FakeCloudApi, clock: Clock, reason: str
    ) -> None:
        refusal = ChangeRefused("It is protected", hint="lift the protection.")
        cloud.failures["POST"] = refusal
        assert env.error(FIRST) is refusal
        cloud.take_calls()
        for _ in range(3):
            clock.advance(5)
            error = env.error(FIRST)
            assert type(error) is ChangeRefused
            assert str(error) == "It is protected. Lift the protection."
        assert cloud.take_calls() == []
        assert env.record().attempts == 1
        if reason == "a minute":
            clock.advance(60)
        elif reason == "the operator":
            env.store.records.retry(HOST, clock())
        assert env.error(SECOND if reason == "another address" else FIRST) is refusal
        assert cloud.take_calls() == [READ, CREATE]

    def test_is_repeated_after_growing_pauses(
        self, env: PublisherEnv, cloud: FakeCloudApi, clock: Clock
    ) -> None:
        cloud.failures["POST"] = REFUSALS[0]
        pauses = []
        for _ in range(8):
            env.update(FIRST)
            pauses.append(env.record().retry_at - clock())
            clock.advance(pauses[-1])
        for pause, longest in zip(pauses, (60, 120, 240, 480, 960, 1920, 3600, 3600)):
            assert longest / 2 <= pause <= longest

    def test_is_not_repeated_after_the_clock_was_set_back(
        self, env: PublisherEnv, cloud: FakeCloudApi, clock: Clock
    ) -> None:
        cloud.failures["POST"] = REFUSALS[0]
        env.update(FIRST)
        clock.advance(-86400)
        assert env.error(FIRST) is REFUSALS[0]

    def test_leaves_the_other_record_type_alone(
        self, env: PublisherEnv, cloud: FakeCloudApi
    ) -> None:
        cloud.failures[CREATE] = REFUSALS[0]
        cloud.publish(NAME, "AAAA", "2001:db8::9")
        env.update(FIRST)
        assert str(env.error(FIRST, "2001:db8::1")) == str(REFUSALS[0])
        assert cloud.values("host", "AAAA") == ["2001:db8::1"]

    def test_for_its_zone_ends_with_the_next_list_of_zones(
        self, env: PublisherEnv, cloud: FakeCloudApi, clock: Clock
    ) -> None:
        cloud.zones["example.com"] = "secondary"
        for _ in range(3):
            clock.advance(1)
            assert isinstance(env.error(FIRST), SecondaryZone)
        assert cloud.take_calls() == [LIST]
        cloud.zones["example.com"] = "primary"
        clock.advance(5)
        assert env.change(FIRST) is Change.CREATED

    def test_of_a_zone_that_became_secondary_lists_the_zones(
        self, env: PublisherEnv, cloud: FakeCloudApi
    ) -> None:
        env.update(FIRST)
        cloud.zones["example.com"] = "secondary"
        cloud.take_calls()
        assert isinstance(env.error(SECOND), SecondaryZone)
        assert cloud.take_calls() == [SET, READ, LIST]

    def test_of_a_secondary_zone_makes_no_call_to_the_zone(
        self, env: PublisherEnv, cloud: FakeCloudApi
    ) -> None:
        cloud.zones["example.com"] = "secondary"
        assert "primary server" in str(env.error(FIRST))
        assert cloud.take_calls() == [LIST]

    def test_without_a_zone_names_the_host(self, env: PublisherEnv, cloud: FakeCloudApi) -> None:
        cloud.zones.clear()
        error = env.error(FIRST)
        assert isinstance(error, ZoneNotFound)
        assert NAME in str(error)
        assert env.record().state is State.REFUSED

    def test_of_an_alias_applies_to_both_record_types(
        self, env: PublisherEnv, cloud: FakeCloudApi
    ) -> None:
        cloud.publish(NAME, "CNAME", "elsewhere.example.")
        assert isinstance(env.error(FIRST, "2001:db8::1"), CnameInTheWay)
        assert [env.record(kind).state for kind in (A, AAAA)] == [State.REFUSED] * 2


def test_a_zone_recreated_in_another_project_is_found(
    store: Store, clock: Clock, sink: RecordingSink
) -> None:
    old, new = FakeCloudApi("example.com"), FakeCloudApi("example.net")
    zones = Zones([Hetzner(old, 60), Hetzner(new, 60)], 86400, clock)
    publisher = Publisher(store, zones, sink, cache_ttl=CACHE_TTL, clock=clock)
    store.records.set_desired(update(FIRST), clock(), 10)
    publisher.publish(HOST, (A,), Deadline(5))
    del old.zones["example.com"]
    new.zones["example.com"] = "primary"
    old.take_calls()
    new.take_calls()
    store.records.set_desired(update(SECOND), clock(), 10)
    result = publisher.publish(HOST, (A,), Deadline(5))[A]
    assert isinstance(result, RecordOutcome)
    assert old.take_calls() == [SET, READ, LIST]
    assert new.take_calls() == [LIST, READ, CREATE]


def test_a_deleted_zone_is_reported_as_missing(env: PublisherEnv, cloud: FakeCloudApi) -> None:
    env.update(FIRST)
    del cloud.zones["example.com"]
    cloud.take_calls()
    assert isinstance(env.error(SECOND), ZoneNotFound)
    assert cloud.take_calls() == [SET, READ, LIST]


def test_waiting_for_the_host_lock_ends_with_the_deadline(
    env: PublisherEnv, other_store: Store, cloud: FakeCloudApi, clock: Clock
) -> None:
    env.set_desired(update(FIRST))
    assert other_store.records.lock(HOST, "elsewhere 1 x", clock()) is not None
    with pytest.raises(HostBusy):
        env.publisher.publish(HOST, (A,), Deadline(0.01))
    assert cloud.calls == []
    assert env.record().attempts == 0


def test_an_address_with_a_failed_action_is_written_again(
    env: PublisherEnv, cloud: FakeCloudApi
) -> None:
    env.update(FIRST)
    env.store.records.note(
        Failed(env.record(), State.PENDING, HetznerBusy("Its action failed."), env.clock()),
        env.clock(),
    )
    cloud.take_calls()
    env.publish(A)
    assert cloud.take_calls() == [READ, SET]


class TestTwoDevices:
    """Two devices that overwrite each other's address."""

    def alternate(self, env: PublisherEnv, times: int, pause: float = 60) -> None:
        for number in range(times):
            env.clock.advance(pause)
            address = (FIRST, SECOND)[number % 2]
            desired = update(address, requester=Requester(address, "dyndns2"))
            attempt = env.publisher.begin(HOST, Deadline(5), desired)
            env.publisher.complete(attempt, (A,))

    def test_are_reported_once_with_their_sources(
        self, env: PublisherEnv, sink: RecordingSink
    ) -> None:
        self.alternate(env, 6)
        assert sink.heard(Contested) == []
        self.alternate(env, 30)
        assert sink.heard(Contested) == [Contested(HOST, A, f"{FIRST} and {SECOND}")]

    def test_are_reported_by_one_process_of_several(
        self, env: PublisherEnv, other_store: Store, cloud: FakeCloudApi, sink: RecordingSink
    ) -> None:
        other = PublisherEnv(other_store, cloud, env.clock, sink)
        for _ in range(10):
            self.alternate(env, 2)
            self.alternate(other, 2)
        assert len(sink.heard(Contested)) == 1

    def test_are_not_assumed_for_slow_changes(self, env: PublisherEnv, sink: RecordingSink) -> None:
        self.alternate(env, 30, pause=601)
        assert sink.heard(Contested) == []

    def test_are_not_assumed_for_ever_new_addresses(
        self, env: PublisherEnv, sink: RecordingSink
    ) -> None:
        for number in range(30):
            env.update(f"198.51.100.{number}")
        assert sink.heard(Contested) == []


@pytest.mark.parametrize("state", [State.PENDING, State.REFUSED])
def test_a_failed_action_leaves_the_address_doubtful_across_updates(
    env: PublisherEnv, cloud: FakeCloudApi, state: State
) -> None:
    env.update(FIRST)
    env.store.records.note(
        Failed(env.record(), State.PENDING, HetznerBusy("Its action failed."), env.clock()),
        env.clock(),
    )
    env.set_desired(update(SECOND))
    failed = Failed(env.record(), state, HetznerBusy("Meanwhile."), env.clock())
    env.store.records.note(failed, env.clock())
    env.set_desired(update(FIRST))
    cloud.take_calls()
    env.publish(A)
    assert cloud.take_calls() == [READ, SET], "the DNS may not serve the address that the API shows"
    assert not env.record().is_doubtful


def test_an_address_updated_back_before_its_action_ends_is_rewritten(
    env: PublisherEnv, cloud: FakeCloudApi
) -> None:
    env.update(FIRST)
    env.set_desired(update(SECOND))
    env.set_desired(update(FIRST))
    cloud.take_calls()
    env.publish(A)
    assert cloud.take_calls() == [READ, SET]


def test_confirming_an_address_does_not_end_its_polling(
    store: Store, cloud: FakeCloudApi, clock: Clock, sink: RecordingSink
) -> None:
    env = PublisherEnv(store, cloud, clock, sink, cache_ttl=0)
    env.update(FIRST)
    before = env.record()
    clock.advance(1)
    assert env.change(FIRST) is Change.UNCHANGED
    after = env.record()
    assert (after.state, after.action) == (State.PUBLISHING, before.action)
    assert after.accepted_at == before.accepted_at
    assert store.records.due_polls(clock() + 3, 9) == [after]
    assert after.checked_at == clock.now


def test_an_unavailable_store_causes_no_call(
    cloud: FakeCloudApi, clock: Clock, sink: RecordingSink
) -> None:
    env = PublisherEnv(Store("sqlite:////missing/store.db"), cloud, clock, sink)
    with pytest.raises(StoreUnavailable):
        env.publish(A)
    assert cloud.calls == []


def test_a_busy_host_is_limited_while_the_quota_is_short(
    env: PublisherEnv, cloud: FakeCloudApi, sink: RecordingSink
) -> None:
    cloud.is_short = True
    results = [env.update(f"198.51.100.{number}") for number in range(1, 9)]
    assert [type(result) for result in results] == [dict] * 4 + [ShareUsedUp] * 4
    assert cloud.values("host", "A") == ["198.51.100.4"]
    assert env.record().state is State.PENDING
    assert len(sink.heard(Postponed)) == 1, "the limit must be reported once"
    assert HOST.text in str(results[-1])


def test_a_rate_limited_host_keeps_the_error_of_its_update(
    env: PublisherEnv, cloud: FakeCloudApi, store: Store, clock: Clock
) -> None:
    cloud.failures["POST"] = ChangeRefused("It is protected.")
    cloud.is_short = True
    for _ in range(4):
        env.update(FIRST)
        store.records.retry(HOST, clock())
    assert isinstance(env.error(FIRST), ShareUsedUp)
    record = env.record()
    assert (record.state, record.error) == (State.REFUSED, "It is protected.")
    assert store.records.due_retries(clock() + 60, 9) == []
    assert store.records.due_retries(clock() + 121, 9) == [record]


def test_hosts_are_not_limited_while_the_quota_is_sufficient(env: PublisherEnv) -> None:
    results = [env.update(f"198.51.100.{number}") for number in range(1, 9)]
    assert [type(result) for result in results] == [dict] * 8


@pytest.mark.parametrize("addresses", [(FIRST,), (FIRST, "2001:db8::1")])
def test_an_error_that_is_dropped_keeps_no_connection_open(
    env: PublisherEnv, addresses: tuple[str, ...]
) -> None:
    gc.disable()  # it would free an error that refers to itself, later
    try:
        attempt = env.publisher.begin(
            host("host.example.net"), Deadline(5), update(*addresses, name="host.example.net")
        )
        with pytest.raises(ZoneNotFound) as caught:
            env.publisher.complete(attempt, (A, AAAA))
        error = weakref.ref(caught.value)
        del caught
        assert error() is None
    finally:
        gc.enable()
