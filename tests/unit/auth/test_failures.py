from __future__ import annotations

import pytest

from backend.auth.throttle import FailedLogins, network_of
from backend.errors import StoreUnavailable
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
    """Counts how often the store is asked; it is away on demand."""

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
    """Stands in for the store: knows nothing, and counts how often it is asked."""

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


def test_so_many_failures_as_the_limit_have_no_consequence_and_one_more_has(
    failures: FailedLogins,
) -> None:
    counted = [failures.count([HOST])[0] for _ in range(5)]
    assert [one.number for one in counted] == [1, 2, 3, 4, 5]
    assert [one.has_crossed for one in counted] == [False, False, False, True, False]
    assert [one.wait for one in counted] == [0, 0, 0, WINDOW, WINDOW]


def test_the_wait_lasts_to_the_end_of_the_window(clock: Clock, failures: FailedLogins) -> None:
    for _ in range(3):
        failures.count([HOST])
    clock.advance(WINDOW - 60)
    assert failures.count([HOST])[0].wait == 60


def test_after_the_window_the_count_begins_anew(clock: Clock, failures: FailedLogins) -> None:
    for _ in range(5):
        failures.count([HOST])
    clock.advance(WINDOW)
    assert failures.count([HOST])[0] == (1, False, 0)


def test_a_clock_that_was_set_back_blocks_nobody_for_longer(
    clock: Clock, failures: FailedLogins
) -> None:
    for _ in range(5):
        failures.count([HOST])
    clock.advance(-86400)
    assert failures.count([HOST])[0] == (1, False, 0)


def test_each_key_has_a_count_of_its_own(failures: FailedLogins) -> None:
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

    def test_learn_of_a_flood_a_little_later(
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
    def test_cannot_make_it_remember_without_end(self, failures: FailedLogins) -> None:
        for number in range(10_001):
            failures.count([f"source {number}", HOST])
        assert failures.count([HOST])[0].number == 10_002, "who fails all the time is kept"
        assert len(failures._counters) == 10_000  # noqa: SLF001

    def test_of_a_million_addresses_take_bounded_memory_and_few_writes(self, clock: Clock) -> None:
        counts = Numbers()
        failures = FailedLogins(LIMIT, WINDOW, counts, clock)
        for number in range(1_000_000):
            failures.count([f"source {number}"])
            if number % 2000 == 0:
                failures.flush()
                clock.advance(2)  # a thousand guesses a second
        assert len(failures._counters) == 10_000  # noqa: SLF001
        assert max(counts.numbers) == 500, "in one write"
        assert len(counts.numbers) <= 20 + 2 * 1000 + 500, "writes in 1000 seconds"

    def test_leave_a_bounded_number_of_rows_in_the_store(self, store: Store, clock: Clock) -> None:
        for number in range(10):
            store.failed_logins.add({f"source {number}": 1}, clock(), WINDOW)
            clock.advance(1)
        store.failed_logins.prune(clock() - WINDOW, 4)
        assert rows(store) == [f"source {number}" for number in range(6, 10)]

    def test_cannot_keep_the_rows_of_a_window_of_a_year(self, clock: Clock) -> None:
        counts = Numbers()
        failures = FailedLogins(LIMIT, 365 * 86400, counts, clock)
        failures.flush()
        clock.advance(60)
        failures.flush()
        assert counts.pruned == [100_000, 100_000]

    def test_who_rotate_addresses_in_one_ipv6_network_are_one_source(
        self, failures: FailedLogins
    ) -> None:
        for number in range(20_000):
            failures.count([network_of(f"2001:db8:1:2:{number:x}::1")])
        assert len(failures._counters) == 1  # noqa: SLF001

    def test_cannot_make_it_write_at_each_failure(self, store: Store, clock: Clock) -> None:
        calls = Calls(store)
        failures = FailedLogins(LIMIT, WINDOW, calls, clock)
        for number in range(1000):
            failures.count([f"source {number}"])
        assert len(calls.numbers) == 20
        failures.flush()
        assert calls.numbers[20:] == [500], "a flush is bounded, too"

    def test_who_are_over_the_limit_cost_no_access_to_the_store(
        self, store: Store, clock: Clock
    ) -> None:
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


def test_windows_that_are_over_are_forgotten(
    store: Store, clock: Clock, failures: FailedLogins
) -> None:
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
def test_an_ipv6_source_counts_by_its_64_for_one_machine_has_it_whole(
    source: str, network: str
) -> None:
    assert network_of(source) == network
