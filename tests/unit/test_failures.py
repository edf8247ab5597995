from __future__ import annotations

import pytest

from backend.failures import FailedLogins, network_of

from .fakes import Clock

WINDOW = 900


@pytest.fixture
def failures(clock: Clock) -> FailedLogins:
    return FailedLogins(3, WINDOW, clock)


def test_so_many_failures_as_the_limit_have_no_consequence_and_one_more_has(
    failures: FailedLogins,
) -> None:
    counted = [failures.count("source") for _ in range(5)]
    assert [one.number for one in counted] == [1, 2, 3, 4, 5]
    assert [one.excess for one in counted] == [-2, -1, 0, 1, 2]
    assert [one.wait for one in counted] == [0, 0, 0, WINDOW, WINDOW]


def test_the_wait_lasts_to_the_end_of_the_window(clock: Clock, failures: FailedLogins) -> None:
    for _ in range(3):
        failures.count("source")
    clock.advance(WINDOW - 60)
    assert failures.count("source").wait == 60


def test_after_the_window_the_count_begins_anew(clock: Clock, failures: FailedLogins) -> None:
    for _ in range(5):
        failures.count("source")
    clock.advance(WINDOW)
    assert failures.count("source") == (1, -2, WINDOW)


def test_each_key_has_a_count_of_its_own(failures: FailedLogins) -> None:
    for _ in range(3):
        failures.count("source one")
    assert failures.count("source two").number == 1
    assert failures.count("source one").number == 4


def test_strangers_cannot_make_it_remember_without_end(failures: FailedLogins) -> None:
    for number in range(10_001):
        failures.count(f"source {number}")
        failures.count("host")
    assert failures.count("source 0").number == 1, "who failed longest ago is forgotten"
    assert failures.count("host").number == 10_002, "who fails all the time is not"


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
