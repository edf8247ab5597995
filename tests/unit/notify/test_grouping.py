"""One cause is one push, over all processes."""

from __future__ import annotations

import json
from typing import Callable

import pytest

from backend.errors import StoreUnavailable
from backend.events import (
    CameBack,
    Cleared,
    Contested,
    Event,
    FellSilent,
    LoginsBlocked,
    PartlyUsed,
    Postponed,
    Published,
    Refused,
    Rejected,
    SeveralRecords,
    ZoneFailed,
)
from backend.model import Hostname, RecordType
from backend.notify.outbox import Grouping, Outbox
from backend.notify.reporter import Push, Reporter
from backend.store import Store
from backend.store.leases import LeaderElection
from tests.unit.fakes import Clock, host

A, AAAA = RecordType.A, RecordType.AAAA
HOSTS = [host(f"host{number}.example.com") for number in range(12)]
NAS, CAM = host("nas.example.com"), host("cam.example.com")
PATIENCE = 10.0
AWAY = "Hetzner is busy (status 503)."


class Mailbox(Outbox):
    """An outbox whose channel accepts all pushes at once, without a thread."""

    def __init__(self, store: Store, sent: list[Push]) -> None:
        self.name = "ntfy"
        self._store = store
        self._sent = sent

    def wake(self) -> None:
        for one in self._store.pushes.queue(self.name):
            content = json.loads(one.content)
            self._sent.append(Push(**{**content, "tags": tuple(content["tags"])}))
            self._store.pushes.delivered([one.id])

    def end(self, _seconds: float) -> None:
        pass

    stop = end


class Process:
    """A process that reports events. All share the store and the clock."""

    def __init__(self, store: Store, clock: Clock, sent: list[Push]) -> None:
        election = LeaderElection(store.leases, "pushes", 30)
        self.grouping = Grouping(store.pushes, election, [Mailbox(store, sent)], clock)
        self._reporter = Reporter(self.grouping.put, pushes_routine=True)

    def report(self, *events: Event) -> None:
        for event in events:
            self._reporter.report(event)


class Processes:
    """Two processes, of which the first is the leader."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store, self.clock = store, clock
        self.sent: list[Push] = []
        self.first, self.second = (Process(store, clock, self.sent) for _ in range(2))

    def wait(self, seconds: int, step: int = 1) -> list[Push]:
        """Let time pass, step by step; return the pushes that are sent."""
        before = len(self.sent)
        for _ in range(0, seconds, step):
            self.clock.advance(step)
            for process in (self.first, self.second):
                process.grouping.tick()
        return self.sent[before:]

    def titles(self, seconds: int) -> list[str]:
        return [push.title for push in self.wait(seconds)]


@pytest.fixture
def both(store: Store, clock: Clock) -> Processes:
    return Processes(store, clock)


def lost(name: Hostname, others_within: float = 0.0) -> FellSilent:
    return FellSilent(name, 1_800_000_000, 10800, others_within)


def test_a_single_host_is_pushed_after_seconds_as_it_is(both: Processes) -> None:
    both.first.report(lost(NAS))
    assert both.wait(4) == []
    (push,) = both.wait(2)
    assert (push.title, push.priority) == (f"{NAS} is lost", 4)
    assert push.message.startswith(f"{NAS} is lost: no update for 3 h (last seen ")
    assert push.tags == ("rotating_light",)
    assert both.wait(7200, 60) == []


def test_hosts_lost_in_several_processes_are_one_push_with_their_names(both: Processes) -> None:
    for number, name in enumerate(HOSTS):
        (both.first, both.second)[number % 2].report(lost(name))
    (push,) = both.wait(90)
    assert (push.title, push.priority) == ("12 hosts are lost", 4)
    assert all(f"{name}: no update for 3 h (last seen 2027-" in push.message for name in HOSTS)
    assert push.message.count("check it first") == 1


@pytest.mark.parametrize(
    ("event", "title"),
    [
        (lambda name: CameBack(name, 60), "12 hosts are back"),
        (lambda name: Postponed(name, A, AWAY), "12 hosts can't be updated now"),
        (lambda name: Refused(name, A, f"{name} is protected."), "12 hosts can't be updated"),
        (lambda name: Cleared(name, A, 60), "12 hosts are up to date again"),
        (lambda name: Published(name, AAAA, "::1", "::2", "x"), "12 hosts have new addresses"),
        (lambda name: Contested(name, A, "x"), "12 hosts are updated by two devices each"),
        (lambda name: LoginsBlocked("x", name), "12 hosts have failed logins"),
        (lambda name: SeveralRecords(name, A, "x", "y"), "12 hosts have several records"),
        (lambda name: Rejected(name, "x", "y"), "12 hosts send invalid updates"),
        (lambda name: PartlyUsed(name, "x", "y"), "12 hosts send partly invalid updates"),
    ],
)
def test_every_cause_is_one_push(both: Processes, event: object, title: str) -> None:
    assert callable(event)
    both.first.report(*map(event, HOSTS))
    (push,) = both.wait(60)
    assert (push.title, push.priority) == (title, 3)
    assert all(name.text in push.message for name in HOSTS)


def test_events_without_a_host_are_pushed_at_once(both: Processes) -> None:
    both.second.report(ZoneFailed("example.com"))
    assert both.titles(1) == ["Zone example.com isn't published"]


def test_hosts_that_follow_each_other_within_a_minute_are_one_push(both: Processes) -> None:
    for name in HOSTS:
        both.second.report(Postponed(name, A, AWAY))
        both.wait(4)
    assert both.titles(60) == ["12 hosts can't be updated now"]


def test_an_outage_is_one_push_whenever_the_hosts_meet_it(both: Processes) -> None:
    for seconds in (0, 13, 20, 25):
        both.wait(seconds)
        both.second.report(Postponed(host(f"h{seconds}.example.com"), A, AWAY))
    assert both.titles(60) == ["4 hosts can't be updated now"]


def test_events_that_never_stop_delay_a_push_by_a_minute(both: Processes) -> None:
    for name in [*HOSTS, *HOSTS]:
        both.first.report(Postponed(name, A, AWAY))
        both.wait(4)
    assert [push.title for push in both.sent] == ["12 hosts can't be updated now"]


def test_hosts_that_are_about_to_be_lost_are_waited_for(both: Processes) -> None:
    both.first.report(lost(HOSTS[0], 300))
    assert both.wait(200) == []
    both.first.report(lost(HOSTS[1], 100))
    assert both.wait(95) == []
    assert both.titles(10) == ["2 hosts are lost"]


def test_the_last_host_that_is_back_ends_the_wait(both: Processes) -> None:
    both.first.report(CameBack(HOSTS[0], 60, 300))
    assert both.wait(100) == []
    both.first.report(CameBack(HOSTS[1], 60))
    assert both.titles(10) == ["2 hosts are back"]


def test_hosts_that_join_later_are_one_follow_up(both: Processes) -> None:
    both.first.report(lost(HOSTS[0]))
    assert len(both.wait(15)) == 1
    for name in HOSTS[1:]:
        both.second.report(lost(name))
        both.wait(2)
    (push,) = both.wait(60)
    assert push.title == "11 hosts are lost"
    assert push.message.count("check it first") == 1


def test_a_long_outage_causes_few_pushes(both: Processes) -> None:
    for number in range(120):
        both.first.report(Postponed(host(f"h{number}.example.com"), A, AWAY))
        both.wait(60, 15)
    assert len(both.sent) <= 8
    assert len(both.wait(1800, 15)) <= 1
    assert sum(push.message.count("example.com") for push in both.sent) == 120


def test_the_pauses_start_again_after_a_quiet_time(both: Processes) -> None:
    for _ in range(5):
        both.first.report(lost(NAS))
        both.wait(900, 15)
    both.wait(4000, 60)
    both.first.report(lost(NAS))
    assert len(both.wait(15)) == 1
    both.first.report(lost(CAM))
    assert len(both.wait(30)) == 1


def test_different_causes_are_different_pushes(both: Processes) -> None:
    both.first.report(Refused(NAS, A, "x", "TokenRejected"), Refused(CAM, A, "y", "CnameInTheWay"))
    both.first.report(Published(NAS, A, "1", "2", "x", "198.51.100.1/32"))
    both.first.report(Published(CAM, A, "1", "2", "x", "198.51.100.2/32"))
    assert sorted(both.titles(60)) == [
        f"{CAM} can't be updated",
        f"{CAM} has a new address",
        f"{NAS} can't be updated",
        f"{NAS} has a new address",
    ]


def test_each_error_is_listed_once_with_its_hosts(both: Processes) -> None:
    both.first.report(*(Postponed(name, A, AWAY) for name in HOSTS[:3]))
    both.first.report(Postponed(NAS, A, f"{NAS} has used up its share."))
    (push,) = both.wait(60)
    assert push.title == "4 hosts can't be updated now"
    head, _, tail = push.message.partition("\n\n")
    assert head.startswith(f"{HOSTS[0]}\n{HOSTS[1]}\n{HOSTS[2]}\nThe updates will be retried. ")
    assert tail.startswith(f"{NAS}\nThe updates will be retried. the host has used up its share.")


def test_both_records_of_a_host_keep_its_title(both: Processes) -> None:
    both.first.report(Published(NAS, A, "1", "2", "x"), Published(NAS, AAAA, "3", "4", "x"))
    (push,) = both.wait(60)
    assert push.title == f"{NAS} has a new address"
    assert push.message == f"{NAS} A: 1 -> 2\n{NAS} AAAA: 3 -> 4"


def test_addresses_of_both_families_are_one_push_for_each_network(both: Processes) -> None:
    for name in HOSTS:
        both.first.report(Published(name, A, "1", "2", "x", "198.51.100.1/32"))
        both.first.report(Published(name, AAAA, "3", "4", "x", "2001:db8::/64"))
        both.wait(1)
    assert both.titles(60) == ["12 hosts have new addresses"] * 2


def test_a_long_list_contains_only_the_names(both: Processes) -> None:
    names = [host(f"h{number}.example.com") for number in range(150)]
    both.first.report(*map(lost, names))
    (push,) = both.wait(60)
    assert push.message.startswith(f"{names[0]}, {names[1]}, ")
    assert all(name.text in push.message for name in names)
    assert len(push.message) < 4000


def test_a_list_that_is_too_long_ends_with_the_number_and_the_advice(both: Processes) -> None:
    names = [host(f"h{number}.customers.example.com") for number in range(300)]
    both.first.report(*[Postponed(name, A, AWAY) for name in names])
    (push,) = both.wait(60)
    listed, _, advice = push.message.partition("\n")
    shown, _, more = listed.partition(" and ")
    left = int(more.partition(" more")[0])
    assert shown.split(", ") == [name.text for name in names[: 300 - left]]
    assert AWAY in advice
    assert 2900 < len(push.message) < 4000


class TestAFailureThatClears:
    def test_is_pushed_before_its_end(self, both: Processes) -> None:
        both.second.report(Postponed(NAS, A, AWAY), Cleared(NAS, A, 1))
        assert both.titles(2) == [f"{NAS} can't be updated now"]
        assert both.titles(60) == [f"{NAS} is up to date again"]

    def test_is_pushed_before_a_refusal_that_follows(self, both: Processes) -> None:
        both.first.report(Postponed(NAS, A, AWAY))
        both.wait(20)
        both.second.report(Refused(NAS, A, "It is protected.", "Protected"))
        assert both.titles(90) == [f"{NAS} can't be updated now", f"{NAS} can't be updated"]

    def test_during_the_pause_of_its_cause_is_not_pushed(self, both: Processes) -> None:
        both.first.report(Postponed(CAM, A, AWAY))
        both.wait(61)
        both.second.report(Postponed(NAS, A, AWAY))
        both.wait(15)
        both.second.report(Cleared(NAS, A, 15))
        assert both.titles(600) == [f"{NAS} is up to date again"]

    def test_leaves_the_silence_of_the_host_alone(self, both: Processes) -> None:
        both.first.report(lost(NAS), Cleared(NAS, A, 1))
        assert both.wait(1) == []
        assert sorted(both.titles(10)) == [f"{NAS} is lost", f"{NAS} is up to date again"]


class TestARestart:
    def test_neither_loses_nor_splits_nor_repeats_a_push(
        self, both: Processes, store: Store, clock: Clock
    ) -> None:
        both.first.report(*map(lost, HOSTS[:6]))
        both.wait(1)
        both.first = Process(store, clock, both.sent)  # killed with the lease
        both.second.report(*map(lost, HOSTS[6:]))
        (push,) = both.wait(40)
        assert all(name.text in push.message for name in HOSTS)

    @pytest.mark.parametrize(
        "event", [lambda name: Postponed(name, A, AWAY), lambda name: lost(name, 90)]
    )
    def test_by_the_operator_does_not_split_a_push(
        self, both: Processes, store: Store, clock: Clock, event: Callable[[Hostname], Event]
    ) -> None:
        both.first.report(*map(event, HOSTS[:6]))
        for process in (both.first, both.second):
            process.grouping.stop(PATIENCE)
        both.first, both.second = (Process(store, clock, both.sent) for _ in range(2))
        both.wait(15)
        both.second.report(*map(event, HOSTS[6:]))
        (push,) = both.wait(200)
        assert all(name.text in push.message for name in HOSTS)

    def test_keeps_the_pause_of_a_cause(self, both: Processes, store: Store, clock: Clock) -> None:
        both.first.report(lost(NAS))
        both.wait(15)
        both.first.grouping.stop(0)
        both.first = Process(store, clock, both.sent)
        both.first.report(lost(CAM))
        assert both.wait(14) == []
        assert both.titles(15) == [f"{CAM} is lost"]

    def test_sends_what_waits(self, both: Processes) -> None:
        both.second.report(lost(NAS))
        both.second.grouping.stop(PATIENCE)
        assert [push.title for push in both.sent] == [f"{NAS} is lost"]

    def test_leaves_waiting_pushes_to_the_leader(self, both: Processes) -> None:
        both.wait(1)
        both.second.report(lost(NAS))
        both.second.grouping.stop(0)
        assert both.sent == []
        both.first.grouping.stop(PATIENCE)
        assert [push.title for push in both.sent] == [f"{NAS} is lost"]

    def test_sends_nothing_without_the_store(self, both: Processes) -> None:
        both.first.report(lost(NAS))
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(both.store.pushes, "is_empty", fail)
            both.first.grouping.stop(PATIENCE)
        assert both.sent == []
        assert both.titles(6) == [f"{NAS} is lost"]


class TestATransaction:
    """An event and its push are stored together, or not at all."""

    @pytest.mark.parametrize("event", [lost(NAS), ZoneFailed("example.com")])
    def test_that_fails_stores_no_push(self, both: Processes, event: Event) -> None:
        with pytest.raises(ZeroDivisionError):
            report_once(both, event, 0)
        assert both.wait(60) == []
        assert both.store.leases.once("subject", "key", both.clock())

    def test_is_undone_if_its_push_is_not_stored(
        self, both: Processes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(both.store.pushes, "add", fail)
        with pytest.raises(StoreUnavailable):
            report_once(both, lost(NAS))
        assert both.store.leases.once("subject", "key", both.clock())

    def test_that_ends_is_followed_by_another(self, both: Processes) -> None:
        with both.store.transaction():
            both.first.report(lost(NAS))
        both.first.report(lost(CAM))
        assert both.titles(10) == ["2 hosts are lost"]


def report_once(both: Processes, event: Event, divisor: int = 1) -> float:
    with both.store.transaction():
        assert both.store.leases.once("subject", "key", both.clock())
        both.first.report(event)
        return 1 / divisor


def fail(*_: object, **__: object) -> None:
    raise StoreUnavailable("It is away.")


def test_the_pushes_of_a_removed_channel_are_deleted_after_an_hour(
    both: Processes, store: Store
) -> None:
    store.pushes.send("{}", 3, ["channel 2"], both.clock())
    both.wait(3500, 100)
    assert len(store.pushes.queue("channel 2")) == 1
    both.wait(200, 100)
    assert store.pushes.queue("channel 2") == []
    assert both.sent == []


def test_a_clock_that_is_set_back_delays_no_push(both: Processes) -> None:
    both.first.report(lost(NAS))
    both.first.grouping.tick()
    both.clock.advance(-86400)
    both.first.report(lost(CAM))
    assert both.titles(40) == ["2 hosts are lost"]
