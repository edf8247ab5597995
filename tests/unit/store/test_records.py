from __future__ import annotations

from dataclasses import replace
from typing import Optional

import pytest
import sqlalchemy as sa

from backend.errors import HetznerBusy, StoreUnavailable
from backend.model import Address, DesiredRecord, Hostname, RecordType, Requester
from backend.store import Accepted, ChangeNote, Delayed, Failed, Record, State, Store
from backend.store.records import FIRST_POLL
from tests.unit.fakes import ROUTER, host, removal, update

HOST = host()
A, AAAA = RecordType.A, RecordType.AAAA
FIRST, SECOND = "198.51.100.1", "198.51.100.2"
ACTION = 604_989_101_982_297
NOW, GRACE = 1_800_000_000.0, 10.0


def set_desired(store: Store, address: str, now: float = NOW) -> Record:
    """Let the host want an address, and return what is known of it then."""
    store.records.set_desired(update(address), now, GRACE)
    return of(store, Address.parse(address).type)


def of(store: Store, kind: RecordType = A) -> Record:
    return store.records.of(HOST)[kind]


def accepted(
    store: Store, address: str = FIRST, action: Optional[int] = None, now: float = NOW
) -> Record:
    store.records.note(Accepted(set_desired(store, address, now), action), now)
    return of(store)


def events(store: Store) -> list:
    return [entry.event for entry in reversed(store.history.find(HOST))]


def test_nothing_is_known_of_a_host_that_never_sent(store: Store) -> None:
    assert store.records.of(HOST) == {}


def test_a_new_update_is_pending_and_left_to_its_request_for_a_while(store: Store) -> None:
    assert set_desired(store, FIRST) == Record(
        host=HOST,
        desired=DesiredRecord(A, Address.parse(FIRST)),
        generation=1,
        desired_at=NOW,
        requester=ROUTER,
        state=State.PENDING,
        published=None,
        action=None,
        accepted_at=None,
        checked_at=0,
        attempts=0,
        retry_at=NOW + GRACE,
        error="",
        hint="",
        comment="",
        verify_after=0,
        changed_at=None,
    )
    assert not of(store).is_accepted


def test_both_families_are_sent_and_kept_each_by_itself(store: Store) -> None:
    store.records.set_desired(update(FIRST, "2001:db8::1"), NOW, GRACE)
    known = store.records.of(HOST)
    assert {kind: str(record.desired.address) for kind, record in known.items()} == {
        A: FIRST,
        AAAA: "2001:db8::1",
    }
    store.records.note(Accepted(known[A]), NOW)
    assert of(store, A).is_accepted
    assert not of(store, AAAA).is_accepted


def test_an_update_that_updates_nothing_yet_leaves_nothing(store: Store) -> None:
    store.records.set_desired(update(), NOW, GRACE)
    assert store.records.of(HOST) == {}


def test_each_host_has_records_of_its_own(store: Store) -> None:
    store.records.set_desired(update(FIRST, name="other.example.com"), NOW, GRACE)
    assert store.records.of(HOST) == {}


def test_an_accepted_update_without_an_action_is_published(store: Store) -> None:
    record = accepted(store)
    assert record.state is State.PUBLISHED
    assert record.is_accepted
    assert (record.published, record.checked_at) == (Address.parse(FIRST), NOW)
    assert (record.action, record.accepted_at) == (None, None)


def test_an_accepted_update_with_an_action_is_publishing_and_followed_after_a_while(
    store: Store,
) -> None:
    record = accepted(store, action=ACTION)
    assert record.state is State.PUBLISHING
    assert record.is_accepted
    assert (record.action, record.accepted_at, record.checked_at) == (ACTION, NOW, NOW)
    assert store.records.due_polls(NOW + FIRST_POLL - 0.1, 9) == []
    assert store.records.due_polls(NOW + FIRST_POLL, 9) == [record]


@pytest.mark.parametrize("back", [2 * 3600, 86400])
def test_what_waits_does_not_wait_for_as_long_as_the_clock_was_set_back(
    store: Store, back: float
) -> None:
    pending = set_desired(store, FIRST)
    assert store.records.due_retries(NOW - back, 9) == [pending]
    publishing = accepted(store, action=ACTION)
    assert store.records.due_polls(NOW - back, 9) == [publishing]


def test_a_finished_action_makes_the_record_published(store: Store) -> None:
    store.records.finish(accepted(store, action=ACTION))
    record = of(store)
    assert (record.state, record.action, record.error) == (State.PUBLISHED, None, "")


def test_an_older_action_that_finishes_does_not_end_the_newer_one(store: Store) -> None:
    older = accepted(store, action=ACTION)
    store.records.note(Accepted(older, ACTION + 1), NOW)
    store.records.finish(older)
    assert (of(store).state, of(store).action) == (State.PUBLISHING, ACTION + 1)


def test_an_action_of_an_older_update_that_finishes_leaves_the_newer_one_pending(
    store: Store,
) -> None:
    older = accepted(store, action=ACTION)
    set_desired(store, SECOND)
    store.records.finish(older)
    assert of(store).state is State.PENDING


def test_a_postponed_update_stays_pending_with_its_error(store: Store) -> None:
    store.records.note(
        Failed(set_desired(store, FIRST), State.PENDING, HetznerBusy("away"), NOW + 5), NOW
    )
    record = of(store)
    assert (record.state, record.error) == (State.PENDING, "away")
    assert (record.attempts, record.retry_at) == (1, NOW + 5)
    store.records.note(Failed(record, State.PENDING, HetznerBusy("away"), NOW + 10), NOW)
    assert of(store).attempts == 2


def test_a_refused_update_waits_for_the_operator(store: Store) -> None:
    store.records.note(
        Failed(set_desired(store, FIRST), State.REFUSED, HetznerBusy("protected"), NOW + 3600), NOW
    )
    record = of(store)
    assert (record.state, record.error, record.attempts) == (State.REFUSED, "protected", 1)
    assert not record.is_accepted


@pytest.mark.parametrize("state", ["pending", "postponed", "refused", "published", "publishing"])
def test_the_same_update_again_changes_nothing(store: Store, state: str) -> None:
    record = set_desired(store, FIRST)
    if state == "postponed":
        store.records.note(Failed(record, State.PENDING, HetznerBusy("away"), NOW + 5), NOW)
    elif state == "refused":
        store.records.note(Failed(record, State.REFUSED, HetznerBusy("protected"), NOW + 3600), NOW)
    elif state != "pending":
        store.records.note(Accepted(record, ACTION if state == "publishing" else None), NOW)
    before = of(store)
    assert set_desired(store, FIRST, NOW + 60) == before


def test_a_newer_update_replaces_what_became_of_the_older_one_but_not_what_hetzner_has(
    store: Store,
) -> None:
    store.records.note(
        Failed(accepted(store, action=ACTION), State.PENDING, HetznerBusy("failed"), NOW + 5), NOW
    )
    requester = Requester("198.51.100.9", "json")
    store.records.set_desired(update(SECOND, requester=requester), NOW + 60, GRACE)
    record = of(store)
    assert (record.desired.address, record.generation) == (Address.parse(SECOND), 2)
    assert (record.state, record.requester, record.desired_at) == (
        State.PENDING,
        requester,
        NOW + 60,
    )
    assert (record.attempts, record.action) == (0, ACTION), "what failed stays in doubt"
    assert record.retry_at == NOW + 60 + GRACE
    assert record.published == Address.parse(FIRST)


def test_an_error_that_was_told_stays_until_it_is_cleared(store: Store) -> None:
    store.records.note(
        Failed(set_desired(store, FIRST), State.REFUSED, HetznerBusy("protected"), NOW + 3600), NOW
    )
    assert set_desired(store, SECOND).error == "protected"
    assert accepted(store, SECOND).error == ""


def test_a_removal_is_a_update_of_its_own(store: Store) -> None:
    accepted(store)
    store.records.set_desired(removal(A), NOW, GRACE)
    record = of(store)
    assert (record.desired, record.state) == (DesiredRecord(A, None), State.PENDING)
    store.records.note(Accepted(record), NOW)
    assert (of(store).published, of(store).is_accepted) == (None, True)
    before = of(store)
    store.records.set_desired(removal(A), NOW + 60, GRACE)
    assert of(store) == before
    assert set_desired(store, FIRST).state is State.PENDING


class TestALateAnswer:
    def test_to_an_older_update_leaves_the_newer_one_pending(self, store: Store) -> None:
        older = set_desired(store, FIRST)
        set_desired(store, SECOND)
        store.records.note(Accepted(older, ACTION), NOW)
        record = of(store)
        assert (record.state, record.action) == (State.PENDING, None)
        assert record.desired.address == Address.parse(SECOND)
        assert record.published == Address.parse(FIRST), "Hetzner has it, after all"

    @pytest.mark.parametrize("action", [None, ACTION])
    def test_to_an_older_update_does_not_pass_for_the_newer_one_that_was_accepted_before(
        self, store: Store, action: Optional[int]
    ) -> None:
        # Hetzner took the newer one first and the older one last: it holds what nobody wants.
        older = set_desired(store, FIRST)
        newer = set_desired(store, SECOND)
        store.records.note(Accepted(newer, action), NOW)
        store.records.note(Accepted(older, ACTION + 1), NOW + 1)
        record = of(store)
        assert record.published == Address.parse(FIRST)
        assert not record.is_accepted, "it would be answered from memory as unchanged"

    @pytest.mark.parametrize("action", [None, ACTION])
    def test_to_an_older_update_does_not_clear_what_keeps_the_newer_one_back(
        self, store: Store, action: Optional[int]
    ) -> None:
        older = set_desired(store, FIRST)
        store.records.note(
            Failed(set_desired(store, SECOND), State.PENDING, HetznerBusy("away"), NOW + 5), NOW
        )
        store.records.note(Accepted(older, action), NOW + 1)
        record = of(store)
        assert (record.state, record.error, record.attempts) == (State.PENDING, "away", 1)

    def test_to_an_older_update_leaves_the_newer_one_in_doubt_whose_action_failed(
        self, store: Store
    ) -> None:
        older = set_desired(store, FIRST)
        newer = accepted(store, SECOND, ACTION)
        store.records.note(Failed(newer, State.PENDING, HetznerBusy("failed"), NOW + 5), NOW)
        store.records.note(Accepted(older, ACTION + 1), NOW + 1)
        assert of(store).is_doubtful

    def test_of_an_action_does_not_end_a_record_that_an_older_answer_made_pending(
        self, store: Store
    ) -> None:
        older = set_desired(store, FIRST)
        newer = accepted(store, SECOND, ACTION)
        store.records.note(Accepted(older, ACTION + 1), NOW + 1)
        store.records.finish(newer)
        assert of(store).state is State.PENDING

    @pytest.mark.parametrize("state", [State.PENDING, State.REFUSED])
    def test_that_is_a_failure_of_an_older_update_does_not_touch_the_newer_one(
        self, store: Store, state: State
    ) -> None:
        older = set_desired(store, FIRST)
        newer = accepted(store, SECOND)
        store.records.note(Failed(older, state, HetznerBusy("late"), NOW + 5), NOW)
        assert of(store) == newer

    def test_that_puts_off_an_older_update_does_not_touch_the_newer_one(self, store: Store) -> None:
        older = set_desired(store, FIRST)
        newer = accepted(store, SECOND, action=ACTION)
        store.records.poll_later(older, NOW + 60)
        store.records.note(Delayed(older, verify_after=NOW + 60), 0)
        store.records.doubt(older)
        store.records.confirm([(older, "x")], NOW + 60)
        assert of(store) == newer
        assert store.records.due_polls(NOW + FIRST_POLL, 9) == [newer]


class TestTwoProcesses:
    def test_see_the_same_records(self, store: Store, other_store: Store) -> None:
        record = set_desired(store, FIRST)
        assert of(other_store) == record
        other_store.records.note(Accepted(record), NOW)
        assert of(store).is_accepted

    def test_do_not_take_a_host_that_came_back_to_its_old_address_for_an_unchanged_one(
        self, store: Store, other_store: Store
    ) -> None:
        accepted(store, FIRST)
        between = set_desired(other_store, SECOND)
        again = set_desired(store, FIRST)
        assert (again.state, again.generation) == (State.PENDING, 3)
        other_store.records.note(Accepted(between, ACTION), NOW)
        assert of(store).state is State.PENDING, "Hetzner holds the address in between"
        assert of(store).published == Address.parse(SECOND)

    def test_count_every_update_once(self, store: Store, other_store: Store) -> None:
        for number in range(10):
            set_desired(store if number % 2 else other_store, f"198.51.100.{number}")
        assert of(store).generation == 10


def test_a_stored_update_is_there_after_a_restart(store: Store, url: str) -> None:
    record = set_desired(store, FIRST)
    store.close()
    reopened = Store(url)
    assert of(reopened) == record
    reopened.close()


def test_a_check_that_is_put_off_changes_nothing_else(store: Store) -> None:
    before = accepted(store)
    store.records.note(Delayed(before, verify_after=NOW + 60), 0)
    assert of(store) == replace(before, verify_after=NOW + 60)


def test_a_look_that_is_put_off_changes_nothing_else(store: Store) -> None:
    before = accepted(store, action=ACTION)
    store.records.poll_later(before, NOW + 60)
    assert of(store) == before
    assert store.records.due_polls(NOW + 59, 9) == []
    assert store.records.due_polls(NOW + 60, 9) == [before]


def test_only_a_change_counts_as_one(store: Store) -> None:
    record = set_desired(store, FIRST)
    store.records.note(Accepted(record), NOW + 1)
    assert of(store).changed_at is None
    store.records.note(Accepted(record, ACTION, ChangeNote("replaced", None, "asked by")), NOW + 2)
    assert of(store).changed_at == NOW + 2


class TestDue:
    @pytest.fixture(autouse=True)
    def _records(self, store: Store) -> None:
        for number, wait in ((1, 30), (2, 10), (3, 20)):
            name = f"host{number}.example.com"
            store.records.set_desired(update(FIRST, name=name), NOW, wait)
        accepted(store, action=ACTION)

    def names(self, store: Store, seconds: float, limit: int = 10) -> list:
        return [one.host.first_label for one in store.records.due_retries(NOW + seconds, limit)]

    def test_records_are_returned_when_their_time_has_come_the_longest_overdue_first(
        self, store: Store
    ) -> None:
        assert self.names(store, 9) == []
        assert self.names(store, 10) == ["host2"]
        assert self.names(store, 30) == ["host2", "host3", "host1"]

    def test_no_more_are_returned_than_asked_for(self, store: Store) -> None:
        assert self.names(store, 30, 2) == ["host2", "host3"]

    def test_a_refused_update_is_tried_again_and_an_accepted_one_looked_at(
        self, store: Store
    ) -> None:
        record = store.records.of(Hostname("host1.example.com"))[A]
        store.records.note(Failed(record, State.REFUSED, HetznerBusy("no zone"), NOW + 5), NOW)
        assert self.names(store, 5) == ["host1"]
        looked_at = store.records.due_polls(NOW + 99, 10)
        assert [one.host.first_label for one in looked_at] == ["host"]

    def test_those_in_a_state_can_be_hurried(self, store: Store) -> None:
        store.records.retry_now(State.PENDING, NOW)
        assert len(self.names(store, 0)) == 3


class TestTheHistory:
    def test_tells_an_accepted_change_with_who_and_why(self, store: Store) -> None:
        note = ChangeNote("replaced", "198.51.100.9", "requested by 198.51.100.1")
        store.records.note(Accepted(set_desired(store, FIRST), ACTION, note), NOW + 1)
        (entry,) = store.history.find(HOST)
        assert (entry.at, entry.host, entry.type) == (NOW + 1, "host.example.com", "A")
        assert (entry.event, entry.old, entry.new) == ("replaced", "198.51.100.9", FIRST)
        assert (entry.source, entry.protocol) == ("198.51.100.1", "dyndns2")
        assert entry.why == "requested by 198.51.100.1"

    def test_does_not_tell_what_is_no_news(self, store: Store) -> None:
        accepted(store, action=ACTION)
        assert store.history.find(HOST) == []

    @pytest.mark.parametrize(
        ("state", "event"), [(State.PENDING, "postponed"), (State.REFUSED, "refused")]
    )
    def test_tells_a_failure_once_a_cause_and_not_once_an_attempt(
        self, store: Store, state: State, event: str
    ) -> None:
        set_desired(store, FIRST)
        for cause in ("away", "away", "busy", "busy"):
            store.records.note(Failed(of(store), state, HetznerBusy(cause), NOW + 5), NOW)
        assert [entry.why for entry in store.history.find(HOST)] == ["busy", "away"]
        assert events(store) == [event, event]

    def test_and_the_record_change_together_or_not_at_all(self, store: Store, url: str) -> None:
        record = set_desired(store, FIRST)
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE history")
        engine.dispose()
        with pytest.raises(StoreUnavailable):
            store.records.note(Accepted(record, ACTION, ChangeNote("created", None, "why")), NOW)
        assert of(store) == record

    def test_is_told_newest_first_and_no_longer_than_asked_for(self, store: Store) -> None:
        for number in range(5):
            note = ChangeNote(f"event{number}", None, "")
            # At one and the same time, as it may happen.
            store.records.note(Accepted(set_desired(store, FIRST), None, note), NOW)
        assert [entry.event for entry in store.history.find(HOST, limit=2)] == ["event4", "event3"]
        assert store.history.find(host("other.example.com")) == []

    def test_loses_what_is_older_than_asked_for(self, store: Store) -> None:
        for at in (1, 2, 3):
            store.records.note(
                Accepted(set_desired(store, FIRST), None, ChangeNote(f"at{at}", None, "")), at
            )
        assert store.history.prune(before=2, limit=10) == 1
        assert events(store) == ["at2", "at3"]
        assert store.history.prune(before=2, limit=10) == 0

    def test_loses_no_more_at_once_than_asked_for(self, store: Store) -> None:
        for at in range(5):
            store.records.note(
                Accepted(set_desired(store, FIRST), None, ChangeNote(f"at{at}", None, "")), at
            )
        assert [store.history.prune(before=4, limit=3) for _ in range(3)] == [3, 1, 0]
        assert events(store) == ["at4"]


def test_a_update_of_a_host_that_was_taken_off_the_list_is_left_alone(store: Store) -> None:
    store.hosts.register([HOST], NOW)
    set_desired(store, FIRST)
    later = NOW + GRACE
    assert [one.host for one in store.records.due_retries(later, 9)] == [HOST]
    store.hosts.register([], NOW)
    assert store.records.due_retries(later, 9) == []
    store.hosts.register([HOST], NOW)
    assert store.records.due_retries(later, 9) == []
