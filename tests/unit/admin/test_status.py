from __future__ import annotations

from typing import Any

import pytest

from backend.admin.status import HostStatus, Overview, Snapshot
from backend.errors import ChangeRefused, HetznerBusy, HetznerUnreachable
from backend.model import Hostname, RecordType
from backend.rate import Quota
from backend.store import Store
from backend.store.conditions import Condition, HostLine, Selection
from backend.store.hosts import HostActivity, Record, State
from backend.store.leases import new_owner
from backend.store.records import Accepted, Failed
from backend.store.schema import Entry
from tests.unit.fakes import ROUTER, host, update

HOME, NAS = host("home.example.com"), host("nas.example.com")
NOW = 1_800_000_000.0
LOST_AFTER = 3600.0
HOUR, DAY = 3600.0, 86400.0
NO = ChangeRefused("No", hint="make it.")


def activity(name: Hostname = HOME, *, seen: float | None = 60, lost: bool = False) -> HostActivity:
    """Return a host registered ten days ago and last seen `seen` seconds ago."""
    seen_at = None if seen is None else NOW - seen
    return HostActivity(name, NOW - 10 * DAY, seen_at, seen or 0.0, seen_at if lost else None)


def set_desired(store: Store, address: str, at: float = NOW - 120) -> Record:
    store.records.set_desired(update(address, name=HOME.text), at, 0)
    return record(store, RecordType.AAAA if ":" in address else RecordType.A)


def record(store: Store, kind: RecordType = RecordType.A) -> Record:
    return store.records.of(HOME)[kind]


def overview(store: Store, *activities: HostActivity, now: float = NOW) -> Overview:
    """Store the activities of hosts, and return the overview of them."""
    store.hosts.register([one.host for one in activities], NOW - 10 * DAY)
    for one in activities:
        if one.seen_at is not None:
            store.hosts.see({one.host: one.seen_at}, NOW)
        stored = one._replace(heard=int(one.seen_at is not None))
        store.hosts.count([stored])
        if one.silent_since is not None:
            store.hosts.fall_silent(stored, NOW)
        if one.muted_until is not None:
            entry = Entry(NOW, one.host.text, "", "muted", "", "")
            store.hosts.mute(one.host, one.muted_until, entry)
    return Overview(store, [one.host for one in activities], LOST_AFTER, clock=lambda: now)


def judged(store: Store, seen: HostActivity | None = None) -> HostStatus:
    one, _ = overview(store, seen or activity()).host(HOME)
    return one


def test_a_seen_and_published_host_is_ok(store: Store) -> None:
    store.records.note(Accepted(set_desired(store, "198.51.100.1")), NOW - 100)
    one = judged(store)
    assert (one.condition, one.since, one.error, one.hint) == (Condition.OK, None, "", "")
    assert {kind.value: str(ip) for kind, ip in one.published.items()} == {"A": "198.51.100.1"}
    assert one.desired == {}


def test_an_unaccepted_update_waits_since_it_was_desired(store: Store) -> None:
    set_desired(store, "198.51.100.1", NOW - 30)
    one = judged(store)
    assert (one.condition, one.since) == (Condition.WAITING, NOW - 30)
    assert one.error
    assert one.hint == ""
    assert one.published == {}
    assert str(one.desired[RecordType.A]) == "198.51.100.1"


def test_a_transient_failure_has_no_hint_and_a_next_try(store: Store) -> None:
    store.records.note(
        Failed(
            set_desired(store, "198.51.100.1"),
            State.PENDING,
            HetznerUnreachable("It is away."),
            NOW + 20,
        ),
        NOW - 9,
    )
    one = judged(store)
    assert (one.condition, one.error) == (Condition.WAITING, "It is away.")
    assert (one.hint, one.retry_at) == ("", NOW + 20)
    assert one.losses == []


def test_a_refusal_has_a_hint_and_both_addresses(store: Store) -> None:
    store.records.note(Accepted(set_desired(store, "198.51.100.1", NOW - DAY)), NOW - DAY)
    refused = set_desired(store, "198.51.100.2", NOW - HOUR)
    store.records.note(
        Failed(
            refused, State.REFUSED, ChangeRefused("It is a CNAME", hint="delete it."), NOW + HOUR
        ),
        NOW,
    )
    one = judged(store)
    assert (one.condition, one.since) == (Condition.REFUSED, NOW - HOUR)
    assert (one.error, one.hint) == ("It is a CNAME.", "Delete it.")
    assert str(one.published[RecordType.A]) == "198.51.100.1"
    assert str(one.desired[RecordType.A]) == "198.51.100.2"
    assert one.losses == [
        "A: The address 198.51.100.2 will not be published; the record keeps 198.51.100.1."
    ]


def test_an_accepted_change_is_publishing(store: Store) -> None:
    store.records.note(Accepted(set_desired(store, "198.51.100.1"), 7), NOW - 3)
    one = judged(store)
    assert (one.condition, one.since, one.has_failed) == (Condition.PUBLISHING, NOW - 3, False)


@pytest.mark.parametrize(
    ("seen", "condition"),
    [
        (activity(seen=LOST_AFTER - 1), Condition.OK),
        (activity(seen=LOST_AFTER + 1), Condition.SILENT),
        (activity(seen=60, lost=True), Condition.SILENT),
    ],
)
def test_a_host_is_silent_exactly_when_the_watcher_says_so(
    store: Store, seen: HostActivity, condition: Condition
) -> None:
    store.records.note(Accepted(set_desired(store, "198.51.100.1")), NOW)
    one = judged(store, seen)
    assert one.condition is condition
    if condition is Condition.SILENT:
        assert one.since == seen.seen_at
        assert one.hint


def test_a_host_never_seen_is_not_silent(store: Store) -> None:
    one = judged(store, activity(seen=None))
    assert (one.condition, one.since) == (Condition.NEVER, NOW - 10 * DAY)
    assert one.hint


def test_the_worse_of_two_records_sets_the_condition(store: Store) -> None:
    store.records.note(Accepted(set_desired(store, "198.51.100.1")), NOW)
    store.records.note(
        Failed(set_desired(store, "2001:db8::1"), State.REFUSED, NO, NOW + HOUR), NOW
    )
    one = judged(store, activity(lost=True))
    assert (one.condition, one.error) == (Condition.REFUSED, "No.")


def test_hosts_are_sorted_by_severity_and_name(store: Store) -> None:
    store.records.note(
        Failed(set_desired(store, "198.51.100.1"), State.REFUSED, NO, NOW + HOUR), NOW
    )
    others = [activity(NAS), activity(host("a.example.com"), seen=2 * HOUR), activity(HOME)]
    found = overview(store, *others)
    lines = found.lines()
    assert [one.host for one in lines] == [HOME.text, "a.example.com", NAS.text]
    assert [one.host.text for one in found.hosts()] == [one.host for one in lines]
    assert found.lines(Selection(first=1, number=1)) == lines[1:2]


def test_hosts_are_found_by_name_address_and_condition(store: Store) -> None:
    store.records.note(Accepted(set_desired(store, "198.51.100.1")), NOW)
    idn = host("bücher.example.com")
    found = overview(store, activity(), activity(NAS, seen=None), activity(idn))

    def names(**selection: Any) -> list[str]:  # noqa: ANN401
        return [one.host for one in found.lines(Selection(**selection))]

    assert names(text="NAS".lower()) == names(in_need=True) == [NAS.text]
    assert names(text="51.100.1") == [HOME.text]
    assert names(text="bücher.ex") == [idn.text]
    assert names(text="%") == names(text="_") == []
    assert names(condition=Condition.OK) == [HOME.text, idn.text]
    assert names(condition=Condition.OK, text="home") == [HOME.text]
    assert [one.number for one in found.groups("home")] == [1]


def test_hosts_of_other_processes_and_leaving_ones_are_shown(store: Store) -> None:
    found = overview(store, activity(), activity(NAS))
    store.registrations.add([host("old.example.com")], ROUTER, NOW)
    store.registrations.remove(
        host("old.example.com"), delete_records=True, operator=ROUTER, now=NOW
    )
    store.hosts.register([HOME], NOW)
    (old, home) = found.lines()
    assert (old.host, old.condition) == ("old.example.com", Condition.PUBLISHING)
    assert (home.host, found.read().number) == (HOME.text, 2)


def test_an_expired_mute_is_not_shown(store: Store) -> None:
    for until, shown in ((NOW + 1, NOW + 1), (NOW - 1, None)):
        found = overview(store, activity()._replace(muted_until=until))
        (one,) = found.hosts()
        assert one.muted_until == shown
        assert found.lines() == [HostLine(HOME.text, Condition.OK, NOW - 60, shown is not None)]


def snapshot(store: Store, *activities: HostActivity) -> Snapshot:
    return overview(store, *activities).read()


def answered(store: Store, at: float) -> None:
    store.projects.store_quotas([Quota(3600, 3600, at, 1)])


def test_the_sentence_of_a_service_without_problems(store: Store) -> None:
    for lease in ("reconciler", "watcher"):
        store.leases.acquire(lease, new_owner(), NOW, 60)
    answered(store, NOW - 5)
    found = snapshot(store, activity(), activity(NAS))
    assert (found.sentence, found.level) == ("All 2 hosts are fine · Hetzner answers", "ok")


def test_the_sentence_counts_hosts_that_need_the_operator(store: Store) -> None:
    for lease in ("reconciler", "watcher"):
        store.leases.acquire(lease, new_owner(), NOW, 60)
    answered(store, NOW - 5)
    found = snapshot(store, activity(lost=True), activity(NAS))
    assert found.sentence == "1 of 2 hosts needs you · Hetzner answers"
    assert found.level == "bad"


def test_a_host_that_is_being_set_up_is_no_alarm(store: Store) -> None:
    answered(store, NOW - 5)
    found = snapshot(store, activity(seen=None))
    assert (found.sentence, found.level) == ("The host needs you · Hetzner answers", "waiting")
    assert snapshot(store, activity(seen=None), activity(NAS, lost=True)).level == "bad"


def test_a_job_is_missed_only_when_its_owner_has_ended(store: Store) -> None:
    assert not snapshot(store, activity()).problems
    store.leases.acquire("watcher", new_owner(), NOW - 61, 60)
    assert snapshot(store, activity()).problems == ["No process checks for silent hosts"]


def test_the_sentence_about_a_busy_hetzner_does_not_say_that_it_answers(store: Store) -> None:
    failing = set_desired(store, "198.51.100.1", NOW - 20)
    store.records.note(Failed(failing, State.PENDING, HetznerBusy("Busy."), NOW + 20), NOW - 9)
    answered(store, NOW - 5)
    found = snapshot(store, activity(), activity(NAS))
    assert (found.sentence, found.level) == ("1 of 2 hosts waits for Hetzner", "waiting")


def test_the_snapshot_knows_since_when_hetzner_is_away(store: Store) -> None:
    for lease in ("reconciler", "watcher"):
        store.leases.acquire(lease, new_owner(), NOW, 60)
    answered(store, NOW - HOUR)
    failing = set_desired(store, "198.51.100.1", NOW - 120)
    error = HetznerUnreachable("It is away.")
    store.records.note(Failed(failing, State.PENDING, error, NOW + 20), NOW - 9)
    found = snapshot(store, activity())
    assert (found.away_since, found.level) == (NOW - 120, "bad")
    assert found.sentence.endswith("waits for Hetzner · Hetzner has not answered for 2 min")
    answered(store, NOW - 60)
    assert snapshot(store, activity()).away_since is None


def test_a_silent_host_that_is_muted_does_not_need_the_operator(store: Store) -> None:
    for until, needs in ((NOW + 1, False), (NOW - 1, True)):
        found = overview(store, activity(lost=True)._replace(muted_until=until))
        (one,) = found.hosts()
        assert (one.condition, one.needs_operator) == (Condition.SILENT, needs)
        assert found.read().in_need == int(needs)
