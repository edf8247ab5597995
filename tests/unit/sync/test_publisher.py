from __future__ import annotations

from typing import Dict, List, Optional, Union

import pytest

from backend.errors import (
    ChangeRefused,
    CnameInTheWay,
    DyndnsError,
    HetznerBusy,
    HetznerUnreachable,
    HostBusy,
    ShareUsedUp,
    StoreUnavailable,
    TokenRejected,
    ZoneNotFound,
)
from backend.events import Cleared, Confirmed, Postponed, Published, Refused
from backend.hetzner.dns import Hetzner
from backend.hetzner.zones import Zones
from backend.model import Change, Deadline, RecordOutcome, RecordType, Update
from backend.store import Failed, Record, State, Store
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


class Desk:
    """A publisher with everything around it, as one process has it."""

    def __init__(  # noqa: PLR0913
        self,
        store: Store,
        cloud: FakeCloudApi,
        clock: Clock,
        sink: RecordingSink,
        *,
        chosen_ttl: Optional[int] = None,
        cache_ttl: float = CACHE_TTL,
    ) -> None:
        self.store, self.cloud, self.clock = store, cloud, clock
        zones = Zones([Hetzner(cloud, 21600, chosen_ttl)], 86400, clock)
        self.publisher = Publisher(store, zones, sink, cache_ttl=cache_ttl, clock=clock)

    def set_desired(self, desired: Update) -> None:
        self.store.records.set_desired(desired, self.clock(), 10)

    def publish(self, *kinds: RecordType) -> Dict[RecordType, RecordOutcome]:
        return self.publisher.publish(HOST, kinds or (A,), Deadline(5))

    def fulfil(self, *addresses: str) -> Union[Dict[RecordType, RecordOutcome], DyndnsError]:
        """Store an update, publish it, and return the outcomes or the error."""
        asked = update(*addresses)
        kinds = [one.type for one in asked.desired]
        try:
            return self.publisher.publish(HOST, kinds, Deadline(5), asked)
        except DyndnsError as error:
            return error

    def change(self, *addresses: str) -> Change:
        outcomes = self.fulfil(*addresses)
        assert isinstance(outcomes, dict), outcomes
        (result,) = outcomes.values()
        assert str(result.desired.address) == addresses[0]
        return result.change

    def error(self, *addresses: str) -> DyndnsError:
        error = self.fulfil(*addresses)
        assert isinstance(error, DyndnsError), error
        return error

    def record(self, kind: RecordType = A) -> Record:
        return self.store.records.of(HOST)[kind]

    def is_up_to_date(self) -> bool:
        return self.publisher.is_up_to_date(self.record())

    def told(self) -> List[str]:
        return [entry.event for entry in reversed(self.store.history.find(HOST))]


@pytest.fixture
def desk(store: Store, cloud: FakeCloudApi, clock: Clock, sink: RecordingSink) -> Desk:
    return Desk(store, cloud, clock, sink)


def test_a_first_update_lists_the_zones_reads_and_creates(
    desk: Desk, cloud: FakeCloudApi, sink: RecordingSink
) -> None:
    assert desk.change(FIRST) is Change.CREATED
    assert cloud.take_calls() == [LIST, READ, CREATE]
    assert cloud.values("host", "A") == [FIRST]
    assert desk.record().state is State.PUBLISHING
    assert desk.told() == ["created"]
    assert sink.events == [Published(HOST, A, "none", FIRST, "requested by 198.51.100.1")]


@pytest.mark.parametrize("address", [FIRST, SECOND])
def test_a_record_that_was_not_confirmed_for_long_is_read_before_it_is_written(
    desk: Desk, cloud: FakeCloudApi, clock: Clock, address: str
) -> None:
    desk.fulfil(FIRST)
    clock.advance(2 * CACHE_TTL)
    cloud.take_calls()
    desk.change(address)
    assert cloud.take_calls() == [READ, SET][: 1 + (address == SECOND)]


def test_a_record_is_read_before_it_is_written_by_a_process_that_has_just_begun(
    desk: Desk, cloud: FakeCloudApi, clock: Clock, sink: RecordingSink
) -> None:
    desk.fulfil(FIRST)
    clock.advance(1)
    restarted = Desk(desk.store, cloud, clock, sink, chosen_ttl=60)
    cloud.take_calls()
    restarted.fulfil(SECOND)
    assert cloud.take_calls() == [LIST, READ, SET, CHANGE_TTL]


def test_a_record_is_read_before_it_is_written_after_a_failure(
    desk: Desk, cloud: FakeCloudApi
) -> None:
    desk.fulfil(FIRST)
    cloud.failures["POST"] = HetznerUnreachable("away")
    desk.error(SECOND)
    cloud.failures.clear()
    cloud.take_calls()
    desk.publish()
    assert cloud.take_calls() == [READ, SET]


def test_a_comment_is_kept_without_reading_it_again(desk: Desk, cloud: FakeCloudApi) -> None:
    cloud.publish(NAME, "A", "198.51.100.9")
    (record,) = cloud.rrsets["example.com", "host", "A"]["records"]
    record["comment"] = "the cellar"
    desk.fulfil(FIRST)
    cloud.take_calls()
    desk.fulfil(SECOND)
    assert cloud.take_calls() == [SET]
    assert cloud.rrsets["example.com", "host", "A"]["records"] == [
        {"value": SECOND, "comment": "the cellar"}
    ]


def test_an_unchanged_update_costs_no_call(desk: Desk, cloud: FakeCloudApi) -> None:
    desk.fulfil(FIRST)
    cloud.take_calls()
    assert desk.change(FIRST) is Change.CACHED
    assert cloud.take_calls() == []
    assert desk.told() == ["created"]


def test_a_usual_change_costs_one_call(
    desk: Desk, cloud: FakeCloudApi, sink: RecordingSink
) -> None:
    desk.fulfil(FIRST)
    cloud.take_calls()
    assert desk.change(SECOND) is Change.REPLACED
    assert cloud.take_calls() == [SET]
    assert cloud.values("host", "A") == [SECOND]
    assert sink.events[-1] == Published(HOST, A, FIRST, SECOND, "requested by 198.51.100.1")
    (entry, _) = desk.store.history.find(HOST)
    assert (entry.event, entry.old, entry.new) == ("replaced", FIRST, SECOND)


def test_both_families_are_read_by_one_call(desk: Desk, cloud: FakeCloudApi) -> None:
    results = desk.fulfil(FIRST, "2001:db8::1")
    assert isinstance(results, dict)
    assert [one.change for one in results.values()] == [Change.CREATED, Change.CREATED]
    assert cloud.take_calls() == [LIST, READ, CREATE, CREATE]
    assert cloud.values("host", "AAAA") == ["2001:db8::1"]


def test_the_other_family_is_not_touched(desk: Desk, cloud: FakeCloudApi) -> None:
    cloud.publish(NAME, "AAAA", "2001:db8::1")
    desk.fulfil(FIRST)
    assert cloud.values("host", "AAAA") == ["2001:db8::1"]
    assert set(desk.store.records.of(HOST)) == {A}


def test_a_record_nobody_sent_for_is_left_alone(desk: Desk, cloud: FakeCloudApi) -> None:
    assert desk.publish(A) == {}
    assert cloud.calls == []


@pytest.mark.parametrize("name", ["example.com", "*.example.com", "a.b.c.example.com"])
def test_apex_wildcard_and_deep_names_are_published_where_they_belong(
    desk: Desk, cloud: FakeCloudApi, name: str
) -> None:
    desk.set_desired(update(FIRST, name=name))
    desk.publisher.publish(host(name), (A,), Deadline(5))
    relative = name[: -len("example.com")].rstrip(".") or "@"
    assert cloud.values(relative, "A") == [FIRST]


def test_a_record_that_is_right_already_is_not_written(
    desk: Desk, cloud: FakeCloudApi, sink: RecordingSink
) -> None:
    cloud.publish(NAME, "A", FIRST)
    assert desk.change(FIRST) is Change.UNCHANGED
    assert cloud.take_calls() == [LIST, READ]
    assert desk.record().state is State.PUBLISHED
    (event,) = sink.events
    assert getattr(event, "old", "none") in ("none", FIRST), "no Python words in a log line"


def test_an_old_record_is_replaced_and_keeps_its_comment_and_its_ttl(
    desk: Desk, cloud: FakeCloudApi
) -> None:
    cloud.publish(NAME, "A", "198.51.100.8", "198.51.100.9", ttl=60, comment="router")
    desk.fulfil(FIRST)
    rrset = cloud.rrsets["example.com", "host", "A"]
    assert rrset == {"ttl": 60, "records": [{"value": FIRST, "comment": "router"}]}
    (entry,) = desk.store.history.find(HOST)
    assert entry.old == "198.51.100.8, 198.51.100.9"


def test_a_ttl_the_operator_chose_is_put_right_once(
    store: Store, cloud: FakeCloudApi, clock: Clock, sink: RecordingSink
) -> None:
    desk = Desk(store, cloud, clock, sink, chosen_ttl=300)
    cloud.publish(NAME, "A", FIRST, ttl=60)
    assert desk.change(FIRST) is Change.UNCHANGED
    assert cloud.take_calls() == [LIST, READ, CHANGE_TTL]
    assert desk.record().action is not None, "it takes Hetzner a while"
    clock.advance(CACHE_TTL + 60)
    desk.fulfil(FIRST)
    assert cloud.take_calls() == [READ]


class TestMemory:
    def test_is_good_for_its_time_and_one_read_decides_after_it(
        self, desk: Desk, cloud: FakeCloudApi, clock: Clock, sink: RecordingSink
    ) -> None:
        desk.fulfil(FIRST)
        clock.advance(CACHE_TTL - 1)
        assert desk.is_up_to_date()
        clock.advance(1)
        assert not desk.is_up_to_date()
        cloud.take_calls()
        assert desk.change(FIRST) is Change.UNCHANGED
        assert cloud.take_calls() == [READ]
        assert desk.is_up_to_date()
        assert sink.events[-1] == Confirmed(HOST, A)
        assert desk.told() == ["created"]

    def test_is_good_for_no_time_when_the_operator_says_so(
        self, store: Store, cloud: FakeCloudApi, clock: Clock, sink: RecordingSink
    ) -> None:
        desk = Desk(store, cloud, clock, sink, cache_ttl=0)
        desk.fulfil(FIRST)
        desk.store.records.finish(desk.record())
        cloud.take_calls()
        assert desk.change(FIRST) is Change.UNCHANGED
        assert cloud.take_calls() == [READ]

    @pytest.mark.parametrize("is_finished", [True, False])
    def test_is_not_good_for_ever_when_the_clock_is_set_back(
        self, desk: Desk, clock: Clock, *, is_finished: bool
    ) -> None:
        desk.fulfil(FIRST)
        if is_finished:
            desk.store.records.finish(desk.record())
        clock.advance(-86400)
        assert not desk.is_up_to_date()

    @pytest.mark.parametrize("state", ["pending", "postponed", "refused"])
    def test_says_nothing_of_a_update_that_is_not_accepted(
        self, desk: Desk, cloud: FakeCloudApi, state: str
    ) -> None:
        error = {"postponed": HetznerBusy("busy"), "refused": ChangeRefused("no")}.get(state)
        if error is None:
            desk.set_desired(update(FIRST))
        else:
            cloud.failures["GET"] = error
            desk.fulfil(FIRST)
        assert not desk.is_up_to_date()

    def test_that_another_process_has_written_counts(
        self, desk: Desk, other_store: Store, cloud: FakeCloudApi, clock: Clock, sink: RecordingSink
    ) -> None:
        desk.fulfil(FIRST)
        cloud.take_calls()
        assert Desk(other_store, cloud, clock, sink).change(FIRST) is Change.CACHED
        assert cloud.take_calls() == []

    def test_does_not_take_a_host_that_is_back_at_its_old_address_for_unchanged(
        self, desk: Desk, other_store: Store, cloud: FakeCloudApi, clock: Clock, sink: RecordingSink
    ) -> None:
        other = Desk(other_store, cloud, clock, sink)
        assert desk.change(FIRST) is Change.CREATED
        assert other.change(SECOND) is Change.REPLACED
        assert desk.change(FIRST) is Change.REPLACED
        assert cloud.values("host", "A") == [FIRST]

    def test_gives_way_to_what_somebody_did_at_hetzner_meanwhile(
        self, desk: Desk, cloud: FakeCloudApi, clock: Clock, sink: RecordingSink
    ) -> None:
        desk.fulfil(FIRST)
        cloud.publish(NAME, "A", "198.51.100.66")
        clock.advance(CACHE_TTL + 60)
        assert desk.change(FIRST) is Change.REPLACED
        assert cloud.values("host", "A") == [FIRST]
        why = "restored: it was changed at Hetzner"
        assert sink.events[-1] == Published(HOST, A, "198.51.100.66", FIRST, why)

    def test_gives_way_to_a_deletion_at_hetzner(
        self, desk: Desk, cloud: FakeCloudApi, clock: Clock
    ) -> None:
        desk.fulfil(FIRST)
        cloud.rrsets.clear()
        clock.advance(CACHE_TTL + 60)
        assert desk.change(FIRST) is Change.CREATED


class TestARemoval:
    def test_deletes_what_is_there(
        self, desk: Desk, cloud: FakeCloudApi, sink: RecordingSink
    ) -> None:
        desk.fulfil(FIRST)
        cloud.take_calls()
        desk.set_desired(removal(A))
        assert desk.publish(A)[A].change is Change.DELETED
        assert cloud.take_calls() == [READ, DELETE]
        assert cloud.rrsets == {}
        assert desk.record().published is None
        assert sink.events[-1] == Published(HOST, A, FIRST, "none", "requested by 198.51.100.1")

    def test_of_what_is_not_there_costs_one_read_and_then_nothing(
        self, desk: Desk, cloud: FakeCloudApi
    ) -> None:
        desk.set_desired(removal(A))
        assert desk.publish(A)[A].change is Change.UNCHANGED
        assert cloud.take_calls() == [LIST, READ]
        assert desk.publish(A)[A].change is Change.CACHED
        assert cloud.take_calls() == []

    def test_leaves_the_other_family_alone(self, desk: Desk, cloud: FakeCloudApi) -> None:
        desk.fulfil(FIRST, "2001:db8::1")
        desk.set_desired(removal(A))
        desk.publish(A)
        assert cloud.values("host", "AAAA") == ["2001:db8::1"]


AWAY = HetznerUnreachable("Hetzner is away.")
BUSY = HetznerBusy("Hetzner is busy.", retry_after=120)


class TestHetznerBeingAway:
    @pytest.mark.parametrize("method", ["GET", "POST"])
    @pytest.mark.parametrize("error", [AWAY, BUSY])
    def test_postpones_the_update(
        self, desk: Desk, cloud: FakeCloudApi, sink: RecordingSink, method: str, error: DyndnsError
    ) -> None:
        cloud.failures[method] = error
        assert desk.error(FIRST) is error
        record = desk.record()
        assert (record.state, record.attempts) == (State.PENDING, 1)
        assert record.error == str(error)
        assert record.retry_at > desk.clock()
        assert desk.told() == ["postponed"]
        assert sink.events == [Postponed(HOST, A, str(error))]

    def test_is_told_once_a_cause_and_its_end_is_told(
        self, desk: Desk, cloud: FakeCloudApi, clock: Clock, sink: RecordingSink
    ) -> None:
        for error in (AWAY, AWAY, BUSY, BUSY):
            cloud.failures["GET"] = error
            desk.fulfil(FIRST)
            clock.advance(100)
        assert [event.error for event in sink.heard(Postponed)] == [str(AWAY), str(BUSY)]
        cloud.failures.clear()
        assert desk.change(FIRST) is Change.CREATED
        assert sink.heard(Cleared) == [Cleared(HOST, A, 400)]
        assert sink.heard(Published)[0].why == "requested by 198.51.100.1, done at attempt 5"
        assert desk.record().error == ""

    def test_is_not_told_anew_for_every_new_address(
        self, desk: Desk, cloud: FakeCloudApi, sink: RecordingSink
    ) -> None:
        cloud.failures["GET"] = AWAY
        desk.fulfil(FIRST)
        desk.fulfil(SECOND)
        assert len(sink.events) == 1

    def test_costs_an_accepted_record_nothing_but_its_check(
        self, desk: Desk, cloud: FakeCloudApi, clock: Clock, sink: RecordingSink
    ) -> None:
        desk.fulfil(FIRST)
        clock.advance(CACHE_TTL + 60)
        cloud.failures["GET"] = AWAY
        cloud.take_calls()
        for _ in range(3):
            assert desk.change(FIRST) is Change.CACHED
        assert cloud.take_calls() == [READ], "whoever comes next doesn't wait for Hetzner again"
        assert desk.record().is_accepted
        assert sink.heard(Postponed, Refused) == []
        clock.advance(600)
        cloud.failures.clear()
        assert desk.change(FIRST) is Change.UNCHANGED

    def test_for_one_family_does_not_keep_the_other_one_back(
        self, desk: Desk, cloud: FakeCloudApi
    ) -> None:
        cloud.publish(NAME, "AAAA", "2001:db8::9")
        cloud.failures[CREATE] = AWAY  # A has to be created, AAAA to be set
        assert desk.error(FIRST, "2001:db8::1") is AWAY
        assert cloud.values("host", "AAAA") == ["2001:db8::1"]
        assert desk.record(AAAA).is_accepted

    def test_after_a_write_is_put_right_by_the_next_try(
        self, desk: Desk, cloud: FakeCloudApi, sink: RecordingSink
    ) -> None:
        desk.fulfil(FIRST)
        desk.store.records.finish(desk.record())
        cloud.lost_answers["POST"] = AWAY
        assert desk.error(SECOND) is AWAY
        assert cloud.values("host", "A") == [SECOND], "Hetzner has done it all the same"
        cloud.lost_answers.clear()
        cloud.take_calls()
        assert desk.change(SECOND) is Change.UNCHANGED
        assert cloud.take_calls() == [READ]
        assert sink.heard(Published)[-1].old == FIRST, "the change is news, whoever did it when"
        assert (desk.store.history.find(HOST)[0].old, desk.store.history.find(HOST)[0].new) == (
            FIRST,
            SECOND,
        )


REFUSALS = [
    ChangeRefused("It is protected."),
    TokenRejected("Check HETZNER_TOKEN."),
    CnameInTheWay("A CNAME is in the way."),
]


class TestHetznersRefusal:
    @pytest.mark.parametrize("error", REFUSALS, ids=lambda error: type(error).__name__)
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_is_kept_for_the_operator(
        self, desk: Desk, cloud: FakeCloudApi, sink: RecordingSink, method: str, error: DyndnsError
    ) -> None:
        cloud.failures[method] = error
        assert desk.error(FIRST) is error
        record = desk.record()
        assert (record.state, record.error) == (State.REFUSED, str(error))
        assert record.retry_at > desk.clock()
        assert desk.told() == ["refused"]
        assert sink.events == [Refused(HOST, A, str(error))]

    def test_is_told_once_and_its_end_is_told(
        self, desk: Desk, cloud: FakeCloudApi, sink: RecordingSink
    ) -> None:
        cloud.failures["POST"] = REFUSALS[0]
        for _ in range(3):
            assert desk.error(FIRST) is REFUSALS[0]
        assert len(sink.events) == 1
        assert desk.told() == ["refused"]
        cloud.failures.clear()
        assert desk.change(FIRST) is Change.CREATED
        assert len(sink.heard(Cleared)) == 1

    def test_of_a_secondary_zone_costs_no_call_to_it(self, desk: Desk, cloud: FakeCloudApi) -> None:
        cloud.zones["example.com"] = "secondary"
        assert "primary server" in str(desk.error(FIRST))
        assert cloud.take_calls() == [LIST]

    def test_for_lack_of_a_zone_names_the_host(self, desk: Desk, cloud: FakeCloudApi) -> None:
        cloud.zones.clear()
        error = desk.error(FIRST)
        assert isinstance(error, ZoneNotFound)
        assert NAME in str(error)
        assert desk.record().state is State.REFUSED

    def test_of_an_alias_is_told_for_both_families(self, desk: Desk, cloud: FakeCloudApi) -> None:
        cloud.publish(NAME, "CNAME", "elsewhere.example.")
        assert isinstance(desk.error(FIRST, "2001:db8::1"), CnameInTheWay)
        assert [desk.record(kind).state for kind in (A, AAAA)] == [State.REFUSED] * 2


def test_a_zone_that_was_made_anew_in_another_project_is_found_again(
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
    assert old.take_calls() == [SET, CREATE, LIST]
    assert new.take_calls() == [LIST, READ, CREATE]


def test_a_zone_that_is_gone_for_good_is_told_as_a_missing_zone(
    desk: Desk, cloud: FakeCloudApi
) -> None:
    desk.fulfil(FIRST)
    del cloud.zones["example.com"]
    cloud.take_calls()
    assert isinstance(desk.error(SECOND), ZoneNotFound)
    assert cloud.take_calls() == [SET, CREATE, LIST]


def test_an_update_waits_for_its_turn_and_then_gives_up(
    desk: Desk, other_store: Store, cloud: FakeCloudApi, clock: Clock
) -> None:
    desk.set_desired(update(FIRST))
    assert other_store.records.begin(HOST, "elsewhere 1 x", clock()) is not None
    with pytest.raises(HostBusy):
        desk.publisher.publish(HOST, (A,), Deadline(0.01))
    assert cloud.calls == []
    assert desk.record().attempts == 0


def test_an_address_whose_publishing_failed_is_written_anew_though_hetzner_shows_it(
    desk: Desk, cloud: FakeCloudApi
) -> None:
    desk.fulfil(FIRST)
    desk.store.records.note(
        Failed(desk.record(), State.PENDING, HetznerBusy("Its action failed."), desk.clock()),
        desk.clock(),
    )
    cloud.take_calls()
    desk.publish(A)
    assert cloud.take_calls() == [READ, SET]


@pytest.mark.parametrize("state", [State.PENDING, State.REFUSED])
def test_that_publishing_failed_is_not_forgotten_over_other_updates_and_failures(
    desk: Desk, cloud: FakeCloudApi, state: State
) -> None:
    desk.fulfil(FIRST)
    desk.store.records.note(
        Failed(desk.record(), State.PENDING, HetznerBusy("Its action failed."), desk.clock()),
        desk.clock(),
    )
    desk.set_desired(update(SECOND))
    failed = Failed(desk.record(), state, HetznerBusy("Meanwhile."), desk.clock())
    desk.store.records.note(failed, desk.clock())
    desk.set_desired(update(FIRST))
    cloud.take_calls()
    desk.publish(A)
    assert cloud.take_calls() == [READ, SET], "the API shows the first one, the DNS may not"
    assert not desk.record().is_doubtful


def test_an_address_that_is_wanted_again_while_its_action_goes_unwatched_is_written_anew(
    desk: Desk, cloud: FakeCloudApi
) -> None:
    desk.fulfil(FIRST)
    desk.set_desired(update(SECOND))
    desk.set_desired(update(FIRST))
    cloud.take_calls()
    desk.publish(A)
    assert cloud.take_calls() == [READ, SET]


def test_an_action_is_followed_although_the_address_is_confirmed_meanwhile(
    store: Store, cloud: FakeCloudApi, clock: Clock, sink: RecordingSink
) -> None:
    desk = Desk(store, cloud, clock, sink, cache_ttl=0)
    desk.fulfil(FIRST)
    before = desk.record()
    clock.advance(1)
    assert desk.change(FIRST) is Change.UNCHANGED
    after = desk.record()
    assert (after.state, after.action) == (State.PUBLISHING, before.action)
    assert after.accepted_at == before.accepted_at
    assert store.records.due_polls(clock() + 3, 9) == [after]
    assert after.checked_at == clock.now


def test_without_a_store_hetzner_is_not_asked(
    cloud: FakeCloudApi, clock: Clock, sink: RecordingSink
) -> None:
    desk = Desk(Store("sqlite:////nowhere/at/all.db"), cloud, clock, sink)
    with pytest.raises(StoreUnavailable):
        desk.publish(A)
    assert cloud.calls == []


def test_a_host_that_tries_all_the_time_waits_while_the_quota_is_short(
    desk: Desk, cloud: FakeCloudApi, sink: RecordingSink
) -> None:
    cloud.is_short = True
    results = [desk.fulfil(f"198.51.100.{number}") for number in range(1, 9)]
    assert [type(result) for result in results] == [dict] * 4 + [ShareUsedUp] * 4
    assert cloud.values("host", "A") == ["198.51.100.4"]
    assert desk.record().state is State.PENDING
    assert len(sink.heard(Postponed)) == 1, "told once, however often it asks"
    assert HOST.text in str(results[-1])


def test_what_keeps_a_update_from_being_fulfilled_stays_known_while_its_host_waits_for_its_turn(
    desk: Desk, cloud: FakeCloudApi, store: Store, clock: Clock
) -> None:
    cloud.failures["POST"] = ChangeRefused("It is protected.")
    cloud.is_short = True
    for _ in range(4):
        desk.fulfil(FIRST)
    assert isinstance(desk.error(FIRST), ShareUsedUp)
    record = desk.record()
    assert (record.state, record.error) == (State.REFUSED, "It is protected.")
    assert store.records.due_retries(clock() + 60, 9) == []
    assert store.records.due_retries(clock() + 121, 9) == [record]


def test_nobody_waits_while_there_is_quota_enough(desk: Desk) -> None:
    results = [desk.fulfil(f"198.51.100.{number}") for number in range(1, 9)]
    assert [type(result) for result in results] == [dict] * 8
