from __future__ import annotations

import pytest

from backend.auth.throttle import FailedLogins
from backend.errors import StoreUnavailable
from backend.rate import network_of
from backend.store import Store
from tests.unit.fakes import Clock

WINDOW, LIMIT = 900, 3
HOST = "host home.example.com"


@pytest.fixture
def failures(store: Store, clock: Clock) -> FailedLogins:
    return FailedLogins(LIMIT, WINDOW, store.failed_logins, clock)


@pytest.fixture
def elsewhere(other_store: Store, clock: Clock) -> FailedLogins:
    """Another process, perhaps on another machine."""
    return FailedLogins(LIMIT, WINDOW, other_store.failed_logins, clock)


class Calls:
    """Records the calls of the store, which can be made unavailable."""

    def __init__(self, store: Store) -> None:
        self._counts = store.failed_logins
        self.numbers = []
        self.is_away = False

    def add(self, numbers: dict, now: float, window: float) -> dict:
        self.numbers.append(len(numbers))
        if self.is_away:
            raise StoreUnavailable("away")
        return self._counts.add(numbers, now, window)

    def prune(self, before: float, most: int) -> None:
        self._counts.prune(before, most)


class Numbers:
    """A substitute for the store that keeps nothing and records its calls."""

    def __init__(self) -> None:
        self.numbers = []
        self.pruned = []

    def add(self, numbers: dict, now: float, window: float) -> dict:
        del window
        self.numbers.append(len(numbers))
        return {key: (number, now) for key, number in numbers.items()}

    def prune(self, before: float, most: int) -> None:
        del before
        self.pruned.append(most)


def rows(store: Store) -> list:
    with store._database.read() as connection:  # noqa: SLF001
        found = connection.exec_driver_sql("SELECT key FROM failed_logins ORDER BY since")
        return [row.key for row in found]


def test_failures_are_over_the_limit_when_they_exceed_it(
    failures: FailedLogins,
) -> None:
    counted = [failures.count([HOST])[0] for _ in range(5)]
    assert [one.number for one in counted] == [1, 2, 3, 4, 5]
    assert [one.has_crossed for one in counted] == [False, False, False, True, False]
    assert [one.wait for one in counted] == [0, 0, 0, WINDOW, WINDOW]


def test_the_wait_ends_with_the_window(clock: Clock, failures: FailedLogins) -> None:
    for _ in range(3):
        failures.count([HOST])
    clock.advance(WINDOW - 60)
    assert failures.count([HOST])[0].wait == 60


def test_a_new_window_begins_with_zero(clock: Clock, failures: FailedLogins) -> None:
    for _ in range(5):
        failures.count([HOST])
    clock.advance(WINDOW)
    assert failures.count([HOST])[0] == (1, False, 0)


def test_a_clock_that_is_set_back_extends_no_window(clock: Clock, failures: FailedLogins) -> None:
    for _ in range(5):
        failures.count([HOST])
    clock.advance(-86400)
    assert failures.count([HOST])[0] == (1, False, 0)


def test_each_key_has_its_own_count(failures: FailedLogins) -> None:
    for _ in range(3):
        failures.count(["source one", HOST])
    two, host = failures.count(["source two", HOST])
    assert (two.number, host.number) == (1, 4)


class TestTwoProcesses:
    def test_count_together(self, failures: FailedLogins, elsewhere: FailedLogins) -> None:
        counted = [(failures, elsewhere)[turn % 2].count([HOST])[0] for turn in range(5)]
        assert [one.number for one in counted] == [1, 2, 3, 4, 5]

    def test_begin_a_window_together(
        self, clock: Clock, failures: FailedLogins, elsewhere: FailedLogins
    ) -> None:
        for _ in range(5):
            failures.count([HOST])
        clock.advance(WINDOW)
        assert elsewhere.count([HOST])[0].number == 1
        assert failures.count([HOST])[0].number == 2

    def test_know_after_a_restart_what_was_counted_before(
        self, store: Store, clock: Clock, failures: FailedLogins
    ) -> None:
        for _ in range(4):
            failures.count([HOST])
        restarted = FailedLogins(LIMIT, WINDOW, store.failed_logins, clock)
        assert restarted.count([HOST])[0] == (5, True, WINDOW)

    def test_learn_of_many_failures_at_the_next_flush(
        self, clock: Clock, failures: FailedLogins, elsewhere: FailedLogins
    ) -> None:
        for number in range(50):
            failures.count([f"source {number}"])
        for _ in range(2):
            failures.count(["source 49"])
        failures.flush()
        clock.advance(60)
        assert elsewhere.count(["source 49"])[0].number == 4


class TestStrangers:
    def test_use_bounded_memory(self, failures: FailedLogins) -> None:
        for number in range(10_001):
            failures.count([f"source {number}", HOST])
        assert failures.count([HOST])[0].number == 10_002, "a frequent key is kept"
        assert len(failures._counters) == 10_000  # noqa: SLF001

    def test_with_many_addresses_cause_bounded_memory_and_writes(self, clock: Clock) -> None:
        counts = Numbers()
        failures = FailedLogins(LIMIT, WINDOW, counts, clock)
        for number in range(100_000):
            failures.count([f"source {number}"])
            if number % 2000 == 0:
                failures.flush()
                clock.advance(2)  # a thousand guesses a second
        assert len(failures._counters) == 10_000  # noqa: SLF001
        assert max(counts.numbers) == 500, "in one write"
        assert len(counts.numbers) <= 20 + 2 * 100 + 50, "writes in 100 seconds"

    def test_leave_few_rows_in_the_store(self, store: Store, clock: Clock) -> None:
        for number in range(10):
            store.failed_logins.add({f"source {number}": 1}, clock(), WINDOW)
            clock.advance(1)
        store.failed_logins.prune(clock() - WINDOW, 4)
        assert rows(store) == [f"source {number}" for number in range(6, 10)]

    def test_cannot_fill_the_store_with_a_long_window(self, clock: Clock) -> None:
        counts = Numbers()
        failures = FailedLogins(LIMIT, 365 * 86400, counts, clock)
        failures.flush()
        clock.advance(60)
        failures.flush()
        assert counts.pruned == [100_000, 100_000]

    def test_in_one_ipv6_network_are_one_source(self, failures: FailedLogins) -> None:
        for number in range(2000):
            failures.count([network_of(f"2001:db8:1:2:{number:x}::1")])
        assert len(failures._counters) == 1  # noqa: SLF001

    def test_do_not_cause_a_write_each(self, store: Store, clock: Clock) -> None:
        calls = Calls(store)
        failures = FailedLogins(LIMIT, WINDOW, calls, clock)
        for number in range(1000):
            failures.count([f"source {number}"])
        assert len(calls.numbers) == 20
        failures.flush()
        assert calls.numbers[20:] == [500], "a flush is bounded"

    def test_over_the_limit_cause_no_store_access(self, store: Store, clock: Clock) -> None:
        calls = Calls(store)
        failures = FailedLogins(LIMIT, WINDOW, calls, clock)
        for _ in range(10):
            failures.count([HOST])
        assert len(calls.numbers) == LIMIT + 1


def test_without_a_store_each_process_counts_for_itself(store: Store, clock: Clock) -> None:
    calls = Calls(store)
    calls.is_away = True
    failures = FailedLogins(LIMIT, WINDOW, calls, clock)
    assert [failures.count([HOST])[0].number for _ in range(4)] == [1, 2, 3, 4]


def test_counts_continue_after_the_store_lost_its_rows(clock: Clock) -> None:
    failures = FailedLogins(LIMIT, WINDOW, Numbers(), clock)
    assert [failures.count([HOST])[0].number for _ in range(3)] == [1, 2, 3]


def test_expired_windows_are_deleted(store: Store, clock: Clock, failures: FailedLogins) -> None:
    failures.count([HOST])
    clock.advance(WINDOW + 601)
    failures.count(["source"])
    failures.flush()
    now = clock()
    assert store.failed_logins.add({HOST: 0, "source": 0}, now, 1e9) == {
        HOST: (0, now),
        "source": (1, now),
    }


@pytest.mark.parametrize(
    ("source", "network"),
    [
        ("198.51.100.7", "198.51.100.7/32"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("", ""),
    ],
)
def test_an_ipv6_source_counts_as_its_64(source: str, network: str) -> None:
    assert network_of(source) == network
