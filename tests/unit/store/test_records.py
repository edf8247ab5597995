from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from backend.errors import HetznerBusy, StoreUnavailable
from backend.model import Address, DesiredRecord, Hostname, RecordType, Requester
from backend.store import Store, history
from backend.store.hosts import Record, State, first_generation
from backend.store.records import FIRST_POLL, Accepted, ChangeNote, Delayed, Failed
from backend.store.schema import Entry
from tests.unit.fakes import ROUTER, host, removal, update

HOST = host()
A, AAAA = RecordType.A, RecordType.AAAA
FIRST, SECOND = "198.51.100.1", "198.51.100.2"
ACTION = 604_989_101_982_297
NOW, GRACE = 1_800_000_000.0, 10.0


def set_desired(store: Store, address: str, now: float = NOW) -> Record:
    """Store an update of the host and return its record."""
    store.records.set_desired(update(address), now, GRACE)
    return of(store, Address.parse(address).type)


def of(store: Store, kind: RecordType = A) -> Record:
    return store.records.of(HOST)[kind]


def accepted(
    store: Store, address: str = FIRST, action: int | None = None, now: float = NOW
) -> Record:
    store.records.note(Accepted(set_desired(store, address, now), action), now)
    return of(store)


def events(store: Store) -> list:
    return [entry.event for entry in reversed(store.history.find(HOST))]


def test_a_host_without_an_update_has_no_records(store: Store) -> None:
    assert store.records.of(HOST) == {}


def test_a_new_update_is_pending_with_a_delayed_retry(store: Store) -> None:
    assert set_desired(store, FIRST) == Record(
        host=HOST,
        type=A,
        desired=DesiredRecord(A, Address.parse(FIRST)),
        generation=first_generation(NOW),
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


def test_both_record_types_of_an_update_are_stored_separately(store: Store) -> None:
    store.records.set_desired(update(FIRST, "2001:db8::1"), NOW, GRACE)
    records = store.records.of(HOST)
    assert {kind: str(record.desired.address) for kind, record in records.items()} == {
        A: FIRST,
        AAAA: "2001:db8::1",
    }
    store.records.note(Accepted(records[A]), NOW)
    assert of(store, A).is_accepted
    assert not of(store, AAAA).is_accepted


def test_an_empty_update_stores_no_record(store: Store) -> None:
    store.records.set_desired(update(), NOW, GRACE)
    assert store.records.of(HOST) == {}


def test_each_host_has_its_own_records(store: Store) -> None:
    store.records.set_desired(update(FIRST, name="other.example.com"), NOW, GRACE)
    assert store.records.of(HOST) == {}


def test_an_accepted_update_without_an_action_is_published(store: Store) -> None:
    record = accepted(store)
    assert record.state is State.PUBLISHED
    assert record.is_accepted
    assert (record.published, record.checked_at) == (Address.parse(FIRST), NOW)
    assert (record.action, record.accepted_at) == (None, None)


def test_an_accepted_update_with_an_action_is_polled_later(
    store: Store,
) -> None:
    record = accepted(store, action=ACTION)
    assert record.state is State.PUBLISHING
    assert record.is_accepted
    assert (record.action, record.accepted_at, record.checked_at) == (ACTION, NOW, NOW)
    assert store.records.due_polls(NOW + FIRST_POLL - 0.1, 9) == []
    assert store.records.due_polls(NOW + FIRST_POLL, 9) == [record]


@pytest.mark.parametrize("back", [2 * 3600, 86400])
def test_setting_the_clock_back_makes_retries_and_polls_due(store: Store, back: float) -> None:
    pending = set_desired(store, FIRST)
    assert store.records.due_retries(NOW - back, 9) == [pending]
    publishing = accepted(store, action=ACTION)
    assert store.records.due_polls(NOW - back, 9) == [publishing]


def test_a_finished_action_makes_the_record_published(store: Store) -> None:
    store.records.note_actions([(accepted(store, action=ACTION), None)])
    record = of(store)
    assert (record.state, record.action, record.error) == (State.PUBLISHED, None, "")


def test_an_older_finished_action_does_not_end_the_newer_action(store: Store) -> None:
    older = accepted(store, action=ACTION)
    store.records.note(Accepted(older, ACTION + 1), NOW)
    store.records.note_actions([(older, None)])
    assert (of(store).state, of(store).action) == (State.PUBLISHING, ACTION + 1)


def test_a_finished_older_action_leaves_the_newer_update_pending(
    store: Store,
) -> None:
    older = accepted(store, action=ACTION)
    set_desired(store, SECOND)
    store.records.note_actions([(older, None)])
    assert of(store).state is State.PENDING


def test_a_postponed_update_stays_pending_with_its_error(store: Store) -> None:
    store.records.note(
        Failed(set_desired(store, FIRST), State.PENDING, HetznerBusy("busy"), NOW + 5), NOW
    )
    record = of(store)
    assert (record.state, record.error) == (State.PENDING, "busy")
    assert (record.attempts, record.retry_at) == (1, NOW + 5)
    store.records.note(Failed(record, State.PENDING, HetznerBusy("busy"), NOW + 10), NOW)
    assert of(store).attempts == 2


def test_a_refused_update_keeps_its_error_and_is_not_accepted(store: Store) -> None:
    store.records.note(
        Failed(set_desired(store, FIRST), State.REFUSED, HetznerBusy("protected"), NOW + 3600), NOW
    )
    record = of(store)
    assert (record.state, record.error, record.attempts) == (State.REFUSED, "protected", 1)
    assert not record.is_accepted


@pytest.mark.parametrize("state", ["pending", "postponed", "refused", "published", "publishing"])
def test_repeating_an_update_does_not_change_its_record(store: Store, state: str) -> None:
    record = set_desired(store, FIRST)
    if state == "postponed":
        store.records.note(Failed(record, State.PENDING, HetznerBusy("busy"), NOW + 5), NOW)
    elif state == "refused":
        store.records.note(Failed(record, State.REFUSED, HetznerBusy("protected"), NOW + 3600), NOW)
    elif state != "pending":
        store.records.note(Accepted(record, ACTION if state == "publishing" else None), NOW)
    before = of(store)
    assert set_desired(store, FIRST, NOW + 60) == before


def test_a_newer_update_resets_progress_but_keeps_the_published_address(
    store: Store,
) -> None:
    store.records.note(
        Failed(accepted(store, action=ACTION), State.PENDING, HetznerBusy("failed"), NOW + 5), NOW
    )
    requester = Requester("198.51.100.9", "json")
    store.records.set_desired(update(SECOND, requester=requester), NOW + 60, GRACE)
    record = of(store)
    assert (record.desired.address, record.generation) == (
        Address.parse(SECOND),
        first_generation(NOW) + 1,
    )
    assert (record.state, record.requester, record.desired_at) == (
        State.PENDING,
        requester,
        NOW + 60,
    )
    assert (record.attempts, record.action) == (0, ACTION), "the failed action is kept"
    assert record.retry_at == NOW + 60 + GRACE
    assert record.published == Address.parse(FIRST)


def test_a_reported_error_stays_until_it_is_cleared(store: Store) -> None:
    store.records.note(
        Failed(set_desired(store, FIRST), State.REFUSED, HetznerBusy("protected"), NOW + 3600), NOW
    )
    assert set_desired(store, SECOND).error == "protected"
    assert accepted(store, SECOND).error == ""


def test_a_removal_is_stored_as_an_update(store: Store) -> None:
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
    def test_for_an_older_update_leaves_the_newer_one_pending(self, store: Store) -> None:
        older = set_desired(store, FIRST)
        set_desired(store, SECOND)
        store.records.note(Accepted(older, ACTION), NOW)
        record = of(store)
        assert (record.state, record.action) == (State.PENDING, None)
        assert record.desired.address == Address.parse(SECOND)
        assert record.published == Address.parse(FIRST), "Hetzner has published the older address"

    @pytest.mark.parametrize("action", [None, ACTION])
    def test_for_an_older_update_revokes_acceptance_of_the_newer_one(
        self, store: Store, action: int | None
    ) -> None:
        # Hetzner processed the newer update first, so it now holds the older address.
        older = set_desired(store, FIRST)
        newer = set_desired(store, SECOND)
        store.records.note(Accepted(newer, action), NOW)
        store.records.note(Accepted(older, ACTION + 1), NOW + 1)
        record = of(store)
        assert record.published == Address.parse(FIRST)
        assert not record.is_accepted, "an accepted record would be answered from the cache"

    @pytest.mark.parametrize("action", [None, ACTION])
    def test_for_an_older_update_keeps_the_error_of_the_newer(
        self, store: Store, action: int | None
    ) -> None:
        older = set_desired(store, FIRST)
        store.records.note(
            Failed(set_desired(store, SECOND), State.PENDING, HetznerBusy("busy"), NOW + 5), NOW
        )
        store.records.note(Accepted(older, action), NOW + 1)
        record = of(store)
        assert (record.state, record.error, record.attempts) == (State.PENDING, "busy", 1)

    def test_for_an_older_update_leaves_a_failed_newer_one_doubtful(self, store: Store) -> None:
        older = set_desired(store, FIRST)
        newer = accepted(store, SECOND, ACTION)
        store.records.note(Failed(newer, State.PENDING, HetznerBusy("failed"), NOW + 5), NOW)
        store.records.note(Accepted(older, ACTION + 1), NOW + 1)
        assert of(store).is_doubtful

    def test_about_an_action_does_not_finish_a_pending_record(self, store: Store) -> None:
        older = set_desired(store, FIRST)
        newer = accepted(store, SECOND, ACTION)
        store.records.note(Accepted(older, ACTION + 1), NOW + 1)
        store.records.note_actions([(newer, None)])
        assert of(store).state is State.PENDING

    @pytest.mark.parametrize("state", [State.PENDING, State.REFUSED])
    def test_about_an_older_failure_does_not_change_the_newer_update(
        self, store: Store, state: State
    ) -> None:
        older = set_desired(store, FIRST)
        newer = accepted(store, SECOND)
        store.records.note(Failed(older, state, HetznerBusy("late"), NOW + 5), NOW)
        assert of(store) == newer

    def test_that_delays_an_older_update_leaves_the_newer_one_unchanged(self, store: Store) -> None:
        older = set_desired(store, FIRST)
        newer = accepted(store, SECOND, action=ACTION)
        store.records.note_actions([(older, NOW + 60)])
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

    def test_republish_an_address_that_was_replaced_in_between(
        self, store: Store, other_store: Store
    ) -> None:
        accepted(store, FIRST)
        between = set_desired(other_store, SECOND)
        again = set_desired(store, FIRST)
        assert (again.state, again.generation) == (State.PENDING, first_generation(NOW) + 2)
        other_store.records.note(Accepted(between, ACTION), NOW)
        assert of(store).state is State.PENDING, "Hetzner holds the second address"
        assert of(store).published == Address.parse(SECOND)

    def test_count_every_update_once(self, store: Store, other_store: Store) -> None:
        for number in range(10):
            set_desired(store if number % 2 else other_store, f"198.51.100.{number}")
        assert of(store).generation == first_generation(NOW) + 9


def test_a_stored_update_survives_a_restart(store: Store, url: str) -> None:
    record = set_desired(store, FIRST)
    store.close()
    reopened = Store(url)
    assert of(reopened) == record
    reopened.close()


def test_delaying_a_check_changes_only_its_time(store: Store) -> None:
    before = accepted(store)
    store.records.note(Delayed(before, verify_after=NOW + 60), 0)
    assert of(store) == replace(before, verify_after=NOW + 60)


def test_delaying_a_poll_changes_only_its_time(store: Store) -> None:
    before = accepted(store, action=ACTION)
    store.records.note_actions([(before, NOW + 60)])
    assert of(store) == before
    assert store.records.due_polls(NOW + 59, 9) == []
    assert store.records.due_polls(NOW + 60, 9) == [before]


def test_only_a_real_change_sets_the_time_of_change(store: Store) -> None:
    record = set_desired(store, FIRST)
    store.records.note(Accepted(record), NOW + 1)
    assert of(store).changed_at is None
    store.records.note(
        Accepted(record, ACTION, ChangeNote("replaced", None, "requested by")), NOW + 2
    )
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

    def test_due_records_are_returned_longest_overdue_first(self, store: Store) -> None:
        assert self.names(store, 9) == []
        assert self.names(store, 10) == ["host2"]
        assert self.names(store, 30) == ["host2", "host3", "host1"]

    def test_the_number_of_due_records_is_limited(self, store: Store) -> None:
        assert self.names(store, 30, 2) == ["host2", "host3"]

    def test_refused_updates_are_retried_and_accepted_ones_polled(self, store: Store) -> None:
        record = store.records.of(Hostname("host1.example.com"))[A]
        store.records.note(Failed(record, State.REFUSED, HetznerBusy("no zone"), NOW + 5), NOW)
        assert self.names(store, 5) == ["host1"]
        polled = store.records.due_polls(NOW + 99, 10)
        assert [one.host.first_label for one in polled] == ["host"]

    def test_all_updates_in_a_state_can_be_retried_now(self, store: Store) -> None:
        store.records.retry_now(State.PENDING, NOW)
        assert len(self.names(store, 0)) == 3


class TestHistory:
    def test_has_the_requester_and_reason_of_an_accepted_change(self, store: Store) -> None:
        note = ChangeNote("replaced", "198.51.100.9", "requested by 198.51.100.1")
        store.records.note(Accepted(set_desired(store, FIRST), ACTION, note), NOW + 1)
        (entry,) = store.history.find(HOST)
        assert (entry.at, entry.host, entry.type) == (NOW + 1, "host.example.com", "A")
        assert (entry.event, entry.old, entry.new) == ("replaced", "198.51.100.9", FIRST)
        assert (entry.source, entry.protocol) == ("198.51.100.1", "dyndns2")
        assert entry.why == "requested by 198.51.100.1"

    def test_omits_updates_without_a_change(self, store: Store) -> None:
        accepted(store, action=ACTION)
        assert store.history.find(HOST) == []

    @pytest.mark.parametrize(
        ("state", "event"), [(State.PENDING, "postponed"), (State.REFUSED, "refused")]
    )
    def test_has_one_failure_per_cause_instead_of_per_attempt(
        self, store: Store, state: State, event: str
    ) -> None:
        set_desired(store, FIRST)
        for cause in ("away", "away", "busy", "busy"):
            store.records.note(Failed(of(store), state, HetznerBusy(cause), NOW + 5), NOW)
        assert [entry.why for entry in store.history.find(HOST)] == ["busy", "away"]
        assert events(store) == [event, event]

    def test_and_the_record_change_in_one_transaction(self, store: Store, url: str) -> None:
        record = set_desired(store, FIRST)
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE history")
        engine.dispose()
        with pytest.raises(StoreUnavailable):
            store.records.note(Accepted(record, ACTION, ChangeNote("created", None, "why")), NOW)
        assert of(store) == record

    def test_is_returned_newest_first_up_to_the_limit(self, store: Store) -> None:
        for number in range(5):
            note = ChangeNote(f"event{number}", None, "")
            # All entries have the same time.
            store.records.note(Accepted(set_desired(store, FIRST), None, note), NOW)
        assert [entry.event for entry in store.history.find(HOST, limit=2)] == ["event4", "event3"]
        assert store.history.find(host("other.example.com")) == []

    def test_is_pruned_of_older_entries(self, store: Store) -> None:
        for at in (1, 2, 3):
            store.records.note(
                Accepted(set_desired(store, FIRST), None, ChangeNote(f"at{at}", None, "")), at
            )
        assert store.history.prune(before=2, limit=10) == 1
        assert events(store) == ["at2", "at3"]
        assert store.history.prune(before=2, limit=10) == 0

    def test_is_pruned_of_the_older_entries_of_a_host_with_too_many(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(history, "_MOST_OF_A_HOST", 3)
        for name, number in ((HOST.text, 7), ("other.example.com", 3)):
            for one in range(number):
                store.history.add(Entry(NOW, name, "A", f"event{one}", "", "", None, None, ""))
        assert [store.history.prune(before=NOW, limit=3) for _ in range(3)] == [3, 1, 0]
        assert events(store) == ["event4", "event5", "event6"]
        assert len(store.history.find(host("other.example.com"))) == 3

    def test_is_pruned_up_to_the_limit(self, store: Store) -> None:
        for at in range(5):
            store.records.note(
                Accepted(set_desired(store, FIRST), None, ChangeNote(f"at{at}", None, "")), at
            )
        assert [store.history.prune(before=4, limit=3) for _ in range(3)] == [3, 1, 0]
        assert events(store) == ["at4"]


def test_updates_of_unregistered_hosts_are_not_retried(store: Store) -> None:
    store.hosts.register([HOST], NOW)
    set_desired(store, FIRST)
    later = NOW + GRACE
    assert [one.host for one in store.records.due_retries(later, 9)] == [HOST]
    store.hosts.register([], NOW)
    assert store.records.due_retries(later, 9) == []
    store.hosts.register([HOST], NOW)
    assert store.records.due_retries(later, 9) == []
