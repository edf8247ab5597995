from __future__ import annotations

import pytest

from backend.errors import StoreUnavailable
from backend.events import CameBack, Event, FellSilent
from backend.model import Hostname, Requester
from backend.monitor import Silences, Watcher, judge
from backend.store import Store
from backend.store.hosts import HostActivity
from backend.store.schema import Entry
from tests.unit.fakes import Clock, RecordingSink, host

NAS, ROUTER = host("nas.example.com"), host("router.example.com")
LOST_AFTER, INTERVAL = 1800.0, 60.0
DAY = 86400.0
OPERATOR = Requester("", "operator")
NOW = 1_800_000_000.0


def activity(
    silent_for: float,
    *,
    seen: float | None = NOW,
    silent_since: float | None = None,
    name: Hostname = NAS,
) -> HostActivity:
    return HostActivity(name, NOW - 100 * DAY, seen, silent_for, silent_since)


FLIPS: list[tuple[str, HostActivity, bool]] = [
    ("seen lately", activity(60), False),
    ("silent for exactly the timeout", activity(LOST_AFTER), False),
    ("silent for longer", activity(LOST_AFTER + 1), True),
    ("silent and reported", activity(DAY, silent_since=NOW), False),
    ("registered lately, never seen", activity(60, seen=None), False),
    ("registered long ago, never seen", activity(LOST_AFTER + 1, seen=None), True),
    ("never seen, and reported", activity(DAY, seen=None, silent_since=NOW - DAY), False),
    ("back", activity(1, silent_since=NOW - DAY), True),
    ("seen once more and silent again", activity(DAY, silent_since=NOW - DAY), False),
    ("back while the clock was set back", activity(1, silent_since=NOW + DAY), True),
    ("reported, and not counted: not seen, so not back", activity(0, silent_since=NOW), False),
]


@pytest.mark.parametrize(("one", "flips"), [flip[1:] for flip in FLIPS], ids=[f[0] for f in FLIPS])
def test_a_host_falls_silent_or_comes_back(one: HostActivity, *, flips: bool) -> None:
    assert list(judge([one], LOST_AFTER)) == ([one] if flips else [])


def test_each_host_is_judged_by_itself() -> None:
    lost, well = activity(DAY), activity(1, name=ROUTER)
    assert list(judge([well, lost], LOST_AFTER)) == [lost]


def test_a_longer_timeout_brings_no_host_back() -> None:
    assert list(judge([activity(DAY, silent_since=NOW)], 7 * DAY)) == []


class TestSilences:
    @pytest.fixture
    def now(self) -> Clock:
        return Clock(0)

    @pytest.fixture
    def silences(self, now: Clock) -> Silences:
        return Silences(now)

    def silence(self, silences: Silences, one: HostActivity) -> float:
        (found,) = silences.measure([one])
        assert found._replace(silent_for=one.silent_for) == one
        return found.silent_for

    def test_continue_from_the_stored_silence(self, silences: Silences, now: Clock) -> None:
        one = activity(500)
        for silent_for in (500, 510, 520):
            assert self.silence(silences, one) == silent_for
            now.advance(10)

    def test_restart_when_the_host_sends_an_update(self, silences: Silences, now: Clock) -> None:
        self.silence(silences, activity(500))
        now.advance(10)
        heard = activity(0)._replace(heard=1)
        assert self.silence(silences, heard) == 0
        now.advance(10)
        assert self.silence(silences, heard) == 10

    @pytest.mark.parametrize("stops", [True, False])
    def test_do_not_grow_while_no_process_watches(
        self, silences: Silences, now: Clock, *, stops: bool
    ) -> None:
        self.silence(silences, activity(500))
        if stops:
            silences.stop()
        now.advance(10 if stops else 41)
        assert self.silence(silences, activity(500)) == 500


class Guard:
    """A watcher in one process. All share the time and the store."""

    def __init__(  # noqa: PLR0913
        self,
        store: Store,
        clock: Clock,
        sink: RecordingSink,
        *,
        hosts: tuple[Hostname, ...] = (NAS,),
        lost_after: float = LOST_AFTER,
        interval: float = INTERVAL,
    ) -> None:
        self.store, self.clock, self.sink = store, clock, sink
        self._monotonic = Clock(0)
        store.hosts.register(hosts, clock())
        self.watcher = Watcher(
            store,
            hosts,
            sink,
            lost_after=lost_after,
            interval=interval,
            clock=clock,
            monotonic=self._monotonic,
        )

    def watch(self, seconds: float, step: float = 20.0) -> list[Event]:
        """Let time pass, and return the events of that time."""
        before = len(self.sink.events)
        for _ in range(int(seconds // step)):
            self.passes(step)
            self.watcher.tick()
        return self.sink.events[before:]

    def passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self._monotonic.advance(seconds)

    def sees(self, name: Hostname = NAS) -> None:
        self.store.hosts.see({name: self.clock()}, self.clock())


@pytest.fixture
def guard(store: Store, clock: Clock, sink: RecordingSink) -> Guard:
    guard = Guard(store, clock, sink)
    guard.sees()
    return guard


def test_a_silence_and_its_end_are_reported_once(guard: Guard) -> None:
    heard = guard.clock()
    assert guard.watch(LOST_AFTER) == []
    (lost,) = guard.watch(LOST_AFTER)
    assert isinstance(lost, FellSilent)
    assert (lost.host, lost.seen_at) == (NAS, heard)
    assert LOST_AFTER < lost.after <= LOST_AFTER + INTERVAL
    guard.sees()
    assert guard.watch(120) == [CameBack(NAS, 2 * LOST_AFTER)]
    guard.sees()
    assert guard.watch(1000) == []
    (again,) = guard.watch(LOST_AFTER)
    assert isinstance(again, FellSilent)


def test_an_event_whose_push_is_not_stored_happens_again(
    guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise StoreUnavailable("It is away.")

    for kind in (FellSilent, CameBack):
        with monkeypatch.context() as patched:
            patched.setattr(guard.sink, "report", fail)
            for _ in range(3):
                with pytest.raises(StoreUnavailable):
                    guard.watch(2 * LOST_AFTER)
        (event,) = guard.watch(2 * INTERVAL)
        assert isinstance(event, kind)
        guard.sees()


def test_a_host_never_seen_is_reported_after_the_timeout(
    store: Store, clock: Clock, sink: RecordingSink
) -> None:
    guard = Guard(store, clock, sink)
    assert guard.watch(LOST_AFTER) == []
    (lost,) = guard.watch(600)
    assert isinstance(lost, FellSilent)
    assert lost.seen_at is None
    guard.sees()
    assert guard.watch(120) == [CameBack(NAS, LOST_AFTER + 600)]


def test_restarts_neither_drop_nor_repeat_a_silence(
    guard: Guard, store: Store, clock: Clock, sink: RecordingSink
) -> None:
    guard.watch(LOST_AFTER - 600)
    for _ in range(3):
        guard.watcher.stop()
        clock.advance(20)
        guard = Guard(store, clock, sink)
        assert guard.watch(120) == []
    (lost,) = guard.watch(600)
    assert isinstance(lost, FellSilent)
    for _ in range(3):
        guard.watcher.stop()
        clock.advance(20)
        guard = Guard(store, clock, sink)
        assert guard.watch(300) == []
    guard.sees()
    (back,) = guard.watch(120)
    assert isinstance(back, CameBack)


@pytest.mark.parametrize("away", [5, 61, 121, 1000, DAY, 400 * DAY])
def test_the_downtime_of_the_service_is_no_silence(
    guard: Guard, store: Store, clock: Clock, sink: RecordingSink, away: float
) -> None:
    lost_after = 300
    guard.watch(120)
    guard.sees()
    guard.watcher.stop()
    clock.advance(away)
    guard = Guard(store, clock, sink, lost_after=lost_after)
    assert guard.watch(60) == [], "the host has had time to send an update"
    guard.sees()
    assert guard.watch(lost_after) == []
    (lost,) = guard.watch(INTERVAL + 20)
    assert isinstance(lost, FellSilent)


def test_a_service_restarted_within_an_interval_reports_nothing(
    guard: Guard, store: Store, clock: Clock, sink: RecordingSink
) -> None:
    for _ in range(30):
        guard = Guard(store, clock, sink, lost_after=300)
        assert guard.watch(40) == []
        clock.advance(20)


def test_a_service_restarted_after_an_interval_keeps_counting(
    guard: Guard, store: Store, clock: Clock, sink: RecordingSink
) -> None:
    for _ in range(int(LOST_AFTER // (INTERVAL / 2))):
        guard.watcher.stop()
        guard = Guard(store, clock, sink)
        guard.watch(80)
    assert [type(event) for event in sink.events] == [FellSilent]


def test_a_timeout_below_the_interval_is_reported_at_the_next_check(
    store: Store, clock: Clock, sink: RecordingSink
) -> None:
    guard = Guard(store, clock, sink, lost_after=30, interval=600)
    guard.sees()
    assert guard.watch(580) == []
    (lost,) = guard.watch(20)
    assert isinstance(lost, FellSilent)
    guard.sees()
    assert guard.watch(3000) == [], "seen once, and silent again at every check"
    guard.watch(580)
    guard.sees()
    (back,) = guard.watch(20)
    assert isinstance(back, CameBack)


def test_an_interval_below_a_tick_is_kept(store: Store, clock: Clock, sink: RecordingSink) -> None:
    guard = Guard(store, clock, sink, lost_after=2, interval=1)
    guard.sees()
    assert guard.watch(3, step=1) == []
    assert len(guard.watch(1, step=1)) == 1


def checks(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Return a list that grows with each check of all hosts by the watcher of a store."""
    made: list[None] = []
    monkeypatch.setattr(store.hosts, "count", lambda _: made.append(None))
    return made


def test_hosts_are_checked_once_an_interval(
    guard: Guard, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = checks(store, monkeypatch)
    guard.watch(INTERVAL - 10, step=10)
    assert made == []
    guard.watch(600, step=10)
    assert len(made) == 10


def test_a_removed_host_is_not_reported_and_restarts_when_added(
    guard: Guard, store: Store, clock: Clock, sink: RecordingSink
) -> None:
    guard.watch(LOST_AFTER - 600)
    guard = Guard(store, clock, sink, hosts=(ROUTER,))
    guard.sees(ROUTER)
    assert guard.watch(1200) == []
    guard = Guard(store, clock, sink, hosts=(NAS, ROUTER))
    guard.sees(ROUTER)
    assert guard.watch(LOST_AFTER - 600) == []
    assert {event.host for event in guard.watch(1200)} == {NAS, ROUTER}


def test_a_lost_host_removed_and_added_is_not_back(
    guard: Guard, store: Store, clock: Clock, sink: RecordingSink
) -> None:
    assert len(guard.watch(LOST_AFTER + 600)) == 1
    Guard(store, clock, sink, hosts=())
    guard = Guard(store, clock, sink)
    assert guard.watch(1200) == []
    guard.sees()
    assert guard.watch(1200) == []


def test_a_clock_set_forward_makes_no_silence(guard: Guard, clock: Clock) -> None:
    guard.watch(600)
    guard.sees()
    clock.advance(365 * DAY)
    assert guard.watch(LOST_AFTER - 60) == []
    assert len(guard.watch(600)) == 1


@pytest.mark.parametrize("step", [100, LOST_AFTER, DAY, 365 * DAY])
def test_a_clock_set_back_delays_an_event_by_one_timeout(
    guard: Guard, clock: Clock, step: float
) -> None:
    guard.watch(600)
    clock.advance(-step)
    events = guard.watch(2 * LOST_AFTER + 600)
    assert [type(event) for event in events] == [FellSilent]
    guard.sees()
    (back,) = guard.watch(120)
    assert isinstance(back, CameBack)


def test_a_clock_that_is_corrected_after_the_start_makes_no_silence(
    guard: Guard, store: Store, clock: Clock, sink: RecordingSink
) -> None:
    guard.watch(600)
    right = clock()
    clock.now = 1000.0  # 1970, as on a board without a battery
    guard = Guard(store, clock, sink)
    guard.sees()
    assert guard.watch(300) == []
    guard.sees()
    clock.now = right + 400
    assert guard.watch(LOST_AFTER - 600) == []
    assert [type(event) for event in guard.watch(1200)] == [FellSilent]


def test_a_second_watcher_takes_over_and_repeats_nothing(
    store: Store, other_store: Store, clock: Clock, sink: RecordingSink
) -> None:
    one, other = Guard(store, clock, sink), Guard(other_store, clock, sink)
    one.sees()

    def both_watch(seconds: float) -> list[Event]:
        before = len(sink.events)
        for _ in range(int(seconds // 20)):
            one.passes(20)
            other._monotonic.advance(20)  # noqa: SLF001
            one.watcher.tick()
            other.watcher.tick()
        return sink.events[before:]

    assert [type(event) for event in both_watch(LOST_AFTER + 600)] == [FellSilent]
    one.watcher.stop()
    assert other.watch(600) == []
    other.sees()
    (back,) = other.watch(120)
    assert isinstance(back, CameBack)


def test_another_watcher_takes_over_within_a_minute_when_one_dies(
    store: Store,
    other_store: Store,
    clock: Clock,
    sink: RecordingSink,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The dead process is on another machine, so its death can't be checked.
    monkeypatch.setattr("backend.store.leases.is_dead", lambda _: False)
    dying, other = Guard(store, clock, sink), Guard(other_store, clock, sink)
    dying.sees()
    dying.watch(LOST_AFTER - 40)
    other._monotonic.advance(LOST_AFTER)  # noqa: SLF001
    with monkeypatch.context() as context:
        made = checks(other_store, context)
        assert other.watch(80) == []
    assert made
    # The silence that the dead watcher counted since its last check is lost.
    assert [type(event) for event in other.watch(2 * INTERVAL)] == [FellSilent]


def test_two_watchers_at_the_same_time_report_a_silence_once(
    guard: Guard,
    other_store: Store,
    clock: Clock,
    sink: RecordingSink,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = Guard(other_store, clock, sink)
    # Both hold the lease, as after a clock was set. Only the stored change decides.
    for store in (guard.store, other_store):
        monkeypatch.setattr(store.leases, "acquire", lambda *_: True)
        monkeypatch.setattr(store.leases, "find", lambda _: [])
    stale = [one._replace(silent_for=LOST_AFTER + 1) for one in guard.store.hosts.registered(NOW)]
    for store in (guard.store, other_store):
        monkeypatch.setattr(store.hosts, "registered", lambda _: stale)
    for one in (guard, other):
        one.passes(LOST_AFTER)
    guard.watcher.tick()
    clock.advance(INTERVAL)
    other.watcher.tick()
    assert [type(event) for event in sink.events] == [FellSilent]


def test_a_store_that_is_away_is_no_silence(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    guard.watch(600)

    def fail(*_: object) -> None:
        raise StoreUnavailable("away")

    with monkeypatch.context() as context:
        context.setattr(guard.store.hosts, "registered", fail)
        with pytest.raises(StoreUnavailable):
            guard.watch(600)
    assert guard.watch(600) == []
    assert [type(event) for event in guard.watch(LOST_AFTER)] == [FellSilent]


def mute(guard: Guard, seconds: float) -> None:
    entry = Entry(0, NAS.text, "", "muted", "", "", None, None, "")
    guard.store.hosts.mute(NAS, guard.clock() + seconds, entry)


def test_a_muted_host_is_reported_without_a_push(guard: Guard, sink: RecordingSink) -> None:
    mute(guard, DAY)
    assert [type(event) for event in guard.watch(LOST_AFTER + 600)] == [FellSilent]
    guard.sees()
    assert [type(event) for event in guard.watch(120)] == [CameBack]
    assert sink.pushed == []


def test_a_mute_of_one_host_affects_no_other(
    store: Store, clock: Clock, sink: RecordingSink
) -> None:
    guard = Guard(store, clock, sink, hosts=(NAS, ROUTER))
    mute(guard, DAY)
    assert len(guard.watch(LOST_AFTER + 600)) == 2
    assert [event.host for event in sink.pushed] == [ROUTER]


def test_pushes_resume_after_the_mute(guard: Guard, sink: RecordingSink) -> None:
    mute(guard, 60)
    guard.watch(LOST_AFTER + 600)
    assert [type(event) for event in sink.pushed] == [FellSilent]


def test_a_host_still_lost_after_its_mute_is_reported_once(
    guard: Guard, store: Store, other_store: Store, clock: Clock, sink: RecordingSink
) -> None:
    mute(guard, LOST_AFTER + 1000)
    guard.watch(LOST_AFTER + 900)
    assert sink.pushed == []
    other = Guard(other_store, clock, sink)
    guard.watch(200)
    guard.watcher.stop()
    other.watch(200)
    assert [type(event) for event in sink.pushed] == [FellSilent]
    (found,) = store.hosts.registered(clock())
    assert found.muted_until is None


class TestHostsBehindOneLine:
    """Their events say for how long others are likely to follow, so that they share a push."""

    @pytest.fixture
    def line(self, store: Store, clock: Clock, sink: RecordingSink) -> Guard:
        """Return a watcher of two hosts that were seen a minute and a half apart."""
        guard = Guard(store, clock, sink, hosts=(NAS, ROUTER))
        guard.sees(NAS)
        guard.watch(100)
        guard.sees(ROUTER)
        return guard

    def test_are_lost_one_after_the_other(self, line: Guard) -> None:
        lost = line.watch(LOST_AFTER + 300)
        assert [event.host for event in lost if isinstance(event, FellSilent)] == [NAS, ROUTER]
        first, last = (event.waits for event in lost if isinstance(event, FellSilent))
        assert 60 < first <= 360
        assert last == FellSilent.gathers

    def test_are_back_one_after_the_other(self, line: Guard) -> None:
        line.watch(LOST_AFTER + 300)
        line.sees(ROUTER)
        (first,) = line.watch(120)
        assert (first, first.waits) == (CameBack(ROUTER, first.after), 360.0)
        line.sees(NAS)
        (last,) = line.watch(120)
        assert (last, last.waits) == (CameBack(NAS, last.after), CameBack.gathers)

    @pytest.mark.parametrize("phase", [0, 20])
    @pytest.mark.parametrize("lost_after", [240, 300, 1800])
    @pytest.mark.parametrize("is_own", [False, True])
    def test_share_a_push_with_any_timeout(  # noqa: PLR0913
        self,
        store: Store,
        clock: Clock,
        sink: RecordingSink,
        *,
        phase: int,
        lost_after: int,
        is_own: bool,
    ) -> None:
        hosts, default = (NAS, ROUTER), 7200 if is_own else lost_after
        guard = Guard(store, clock, sink, hosts=hosts, lost_after=default)
        if is_own:
            for name in hosts:
                store.registrations.change(name, {"lost_after": lost_after}, OPERATOR, clock())
        found: list[tuple[float, Event]] = []

        def watch(seconds: float) -> None:
            for _ in range(int(seconds // 20)):
                found.extend((clock(), event) for event in guard.watch(20))

        for _ in range(2):  # they are lost, and are back
            watch(phase)
            guard.sees(NAS)
            watch(40)
            guard.sees(ROUTER)
            watch(lost_after + 180)
        for kind in (FellSilent, CameBack):
            (start, first), (end, _) = [one for one in found if isinstance(one[1], kind)][:2]
            assert end - start <= first.waits

    def test_are_not_waited_for_when_they_were_seen(self, line: Guard) -> None:
        line.watch(1000)
        line.sees(ROUTER)
        (lost,) = line.watch(1000)
        assert (lost.host, lost.waits) == (NAS, FellSilent.gathers)
        line.sees(NAS)
        (back,) = line.watch(120)
        assert back.waits == CameBack.gathers
