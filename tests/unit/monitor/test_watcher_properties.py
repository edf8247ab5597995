"""Hosts, two services, and clocks that jump: which hosts are reported as lost or back."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass

from hypothesis import HealthCheck, example, given, settings, strategies as st

from backend.events import CameBack, Event, FellSilent
from backend.model import Hostname
from backend.monitor import TICK_SECONDS, Watcher
from backend.store import Store, prepare_store
from backend.sync.updater import ActivityBuffer
from tests.unit.fakes import host

POLLS, STOPS = host("polls.example.com"), host("stops.example.com")
LOST_AFTER, INTERVAL, POLL = 300, 60, 60
STEP = 5  # clocks are set, and hosts send updates, between two ticks, too
START = 1_800_000_000.0
DISTURBED = 1200  # seconds in which clocks jump and services restart
# A leader that ends loses its count since the last check. The next one starts within a minute.
HIDDEN = 2 * INTERVAL + 60
YEAR = 365 * 86400


@dataclass(frozen=True)
class Jump:
    """All clocks are set, and perhaps corrected later."""

    at: int
    by: float
    back_after: int = 0

    @property
    def hides(self) -> int:
        return 2 * HIDDEN if self.back_after else HIDDEN


@dataclass(frozen=True)
class Restart:
    """Services are stopped for some time."""

    at: int
    which: tuple[int, ...]
    seconds: int

    @property
    def hides(self) -> int:
        return HIDDEN + self.seconds


class Service:
    """One process: it receives updates, and watches the hosts."""

    def __init__(self, url: str, world: World, skew: float) -> None:
        self._url, self._world, self._skew = url, world, skew
        self.store = Store(url, pool_size=1)
        self.start()

    def clock(self) -> float:
        return START + self._world.now + self._world.set_by + self._skew

    def start(self) -> None:
        self.store.hosts.register([POLLS, STOPS], self.clock())
        self.activities = ActivityBuffer(self.store.hosts, self.clock)
        self.watcher = Watcher(
            self.store,
            [POLLS, STOPS],
            self._world,
            lost_after=LOST_AFTER,
            interval=INTERVAL,
            clock=self.clock,
            monotonic=lambda: self._world.now,
        )
        self.is_up = True

    def runs(self, shall: bool) -> None:
        if self.is_up and not shall:
            self.watcher.stop()
        elif shall and not self.is_up:
            self.start()
        self.is_up = shall


class World:
    """The real time, the error of the clocks, and the events with their times."""

    def __init__(self) -> None:
        self.now = 0.0
        self.set_by = 0.0
        self.reports: list[tuple[float, Event]] = []

    def report(self, event: Event, *, quietly: bool) -> None:
        assert not quietly
        self.reports.append((self.now, event))

    def reported(self, name: Hostname, kind: type[Event]) -> list[float]:
        return [
            at
            for at, event in self.reports
            if isinstance(event, kind) and event.host == name  # type: ignore[attr-defined]
        ]


JUMPS = st.builds(
    Jump,
    at=st.integers(0, DISTURBED // STEP).map(lambda number: number * STEP),
    by=st.one_of(
        st.floats(-600, 600), st.sampled_from([-3600, 3600, -86400, 86400, -YEAR, YEAR, 9 * YEAR])
    ),
    back_after=st.sampled_from([0, 0, STEP, 30, 120, 600]),
)
RESTARTS = st.builds(
    Restart,
    at=st.integers(0, DISTURBED // STEP).map(lambda number: number * STEP),
    which=st.sampled_from([(0,), (1,), (0, 1)]),
    seconds=st.sampled_from([STEP, 30, 90, 600]),
)


@dataclass(frozen=True)
class Story:
    """The course of one test."""

    jumps: list[Jump]
    restarts: list[Restart]
    stops_at: int
    phase: int  # of the polls; the checks have their own

    @property
    def latest(self) -> int:
        """The latest time at which the silence must be reported."""
        hidden = sum(one.hides for one in (*self.jumps, *self.restarts))
        return self.stops_at + LOST_AFTER + INTERVAL + 2 * int(TICK_SECONDS) + hidden

    @property
    def comes_back(self) -> int:
        """The time of its next update, after all jumps and restarts."""
        ends = [one.at + one.back_after for one in self.jumps]
        ends += [one.at + one.seconds for one in self.restarts]
        return (max(self.latest, *ends, 0) // POLL + 2) * POLL

    def set_by(self, second: int) -> float:
        """The error of the clocks."""
        return sum(
            one.by
            for one in self.jumps
            if one.at <= second and not 0 < one.back_after <= second - one.at
        )

    def is_stopped(self, number: int, second: int) -> bool:
        mine = [one for one in self.restarts if number in one.which]
        return any(one.at <= second < one.at + one.seconds for one in mine)

    def polling(self, second: int) -> list[Hostname]:
        if second % POLL != self.phase:
            return []
        return [POLLS] if self.stops_at <= second < self.comes_back else [POLLS, STOPS]


def live(story: Story, url: str, skews: tuple[float, float]) -> World:
    world = World()
    services = [Service(url, world, skew) for skew in skews]
    for second in range(
        0, story.comes_back + 2 * POLL + 2 * INTERVAL + 2 * int(TICK_SECONDS), STEP
    ):
        world.now, world.set_by = float(second), story.set_by(second)
        for number, service in enumerate(services):
            service.runs(not story.is_stopped(number, second))
        up = [service for service in services if service.is_up]
        for name in story.polling(second) if up else ():
            asked = up[second // POLL % len(up)]
            asked.activities.note(name, asked.clock())
        for service in up:
            service.activities.flush()
            if second % TICK_SECONDS == 0:
                service.watcher.tick()
    for service in services:
        service.store.close()
    return world


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(
    jumps=st.lists(JUMPS, max_size=4),
    restarts=st.lists(RESTARTS, max_size=2),
    skews=st.tuples(st.floats(-1.5, 1.5), st.floats(-1.5, 1.5)),
    stops_at=st.integers(0, DISTURBED // POLL).map(lambda number: number * POLL),
    phase=st.sampled_from(range(0, POLL, STEP)),
)
@example([], [Restart(805, (0, 1), 600)], (0.0, 0.0), 0, 0)
@example([Jump(305, -3600, 5)], [], (0.0, 0.0), 1200, 5)
@example([Jump(310, 100), Jump(330, 100), Jump(350, 100)], [], (0.0, 0.0), 1200, 5)
@example([Jump(300, -50)], [], (0.0, 0.0), 300, 0)
@example([Jump(300, -YEAR)], [Restart(300, (0, 1), 600)], (1.5, -1.5), 300, 50)
def test_only_a_silent_host_is_lost_and_reported_once(
    jumps: list[Jump],
    restarts: list[Restart],
    skews: tuple[float, float],
    stops_at: int,
    phase: int,
) -> None:
    story = Story(jumps, restarts, stops_at, phase)
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/store.db"
        prepare_store(url)
        world = live(story, url, skews)
    assert [event for _, event in world.reports if event.host == POLLS] == []  # type: ignore[attr-defined]
    lost, back = world.reported(STOPS, FellSilent), world.reported(STOPS, CameBack)
    assert len(lost) == 1
    assert stops_at + LOST_AFTER - POLL <= lost[0] <= story.latest
    assert len(back) == 1
    assert story.comes_back <= back[0]
