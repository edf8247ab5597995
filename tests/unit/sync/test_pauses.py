from __future__ import annotations

import pytest

from backend.errors import HetznerBusy, HetznerUnreachable, ShareUsedUp
from backend.model import Hostname
from backend.rate import Shares
from backend.sync.publisher import pause_after
from tests.unit.fakes import Clock, host

ONE, TWO = host("one.example.com"), host("two.example.com")


@pytest.fixture
def shares(clock: Clock) -> Shares:
    return Shares(clock)


def wait(shares: Shares, name: Hostname = ONE) -> float:
    """Return how many seconds a host must wait before its next attempt."""
    try:
        shares.take(name)
    except ShareUsedUp as error:
        return error.retry_after
    return 0


class TestAShare:
    def test_allows_four_attempts_then_one_every_two_minutes(
        self, shares: Shares, clock: Clock
    ) -> None:
        waits = [wait(shares) for _ in range(5)]
        assert waits == [0, 0, 0, 0, 120]
        clock.advance(119)
        assert wait(shares) == pytest.approx(1)
        clock.advance(1)
        assert wait(shares) == 0
        assert wait(shares) == 120

    def test_is_separate_for_each_host(self, shares: Shares) -> None:
        for _ in range(5):
            wait(shares)
        assert wait(shares, TWO) == 0

    def test_is_restored_after_a_quiet_period(self, shares: Shares, clock: Clock) -> None:
        for _ in range(5):
            wait(shares)
        clock.advance(480)
        assert [wait(shares) for _ in range(5)] == [0, 0, 0, 0, 120]


class TestThePause:
    @pytest.mark.parametrize(
        ("attempts", "longest"), [(0, 5), (1, 10), (2, 20), (3, 40), (4, 60), (50, 60)]
    )
    def test_grows_with_the_attempts_up_to_a_minute(self, attempts: int, longest: float) -> None:
        pauses = {pause_after(attempts) for _ in range(200)}
        assert longest / 2 <= min(pauses) < max(pauses) <= longest
        assert len(pauses) > 100, "pauses are random, so hosts don't retry at the same time"

    def test_is_not_shorter_than_the_retry_after_of_hetzner(self) -> None:
        assert pause_after(0, HetznerBusy("busy", retry_after=3000)) == 3000
        assert pause_after(10, HetznerBusy("busy", retry_after=1)) >= 30

    def test_ignores_the_retry_after_meant_for_callers(self) -> None:
        assert pause_after(0, HetznerUnreachable("unreachable", retry_after=3000)) <= 5
