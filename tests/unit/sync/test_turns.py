from __future__ import annotations

from typing import List

import pytest

from backend.errors import HostBusy, StoreUnavailable
from backend.hetzner.client import Deadline
from backend.store import Store
from backend.sync.locks import Turns
from tests.unit.fakes import Clock, host

HOST = host()
A_MOMENT = 0.01


@pytest.fixture
def turns(store: Store, clock: Clock) -> Turns:
    return Turns(store.leases, clock)


@pytest.fixture
def others_turns(other_store: Store, clock: Clock) -> Turns:
    """The turns of another process."""
    return Turns(other_store.leases, clock)


def is_free(turns: Turns) -> bool:
    try:
        with turns.take(HOST, Deadline(A_MOMENT)):
            return True
    except HostBusy:
        return False


def test_one_updates_a_host_at_a_time_here_and_elsewhere(turns: Turns, others_turns: Turns) -> None:
    with turns.take(HOST, Deadline(5)):
        assert not is_free(others_turns)
        assert not is_free(turns)
    assert is_free(others_turns)
    assert is_free(turns)


def test_whoever_waits_in_vain_is_told_for_which_host(turns: Turns, others_turns: Turns) -> None:
    with turns.take(HOST, Deadline(5)), pytest.raises(HostBusy, match=r"host\.example\.com"):  # noqa: SIM117
        with others_turns.take(HOST, Deadline(A_MOMENT)):
            pass


def test_another_host_needs_not_wait(turns: Turns, others_turns: Turns) -> None:
    with turns.take(host("other.example.com"), Deadline(5)):
        assert is_free(others_turns)


def test_a_turn_ends_when_its_work_fails(turns: Turns, others_turns: Turns) -> None:
    with pytest.raises(ValueError, match="a bug"), turns.take(HOST, Deadline(5)):
        raise ValueError("a bug")
    assert is_free(others_turns)


def test_a_turn_that_is_kept_lasts_while_hetzner_is_slow(
    turns: Turns, others_turns: Turns, clock: Clock
) -> None:
    with turns.take(HOST, Deadline(5)):
        for _ in range(10):
            clock.advance(5)
            turns.keep()
            assert not is_free(others_turns)


def test_a_turn_that_nobody_keeps_runs_out(turns: Turns, others_turns: Turns, clock: Clock) -> None:
    with turns.take(HOST, Deadline(5)):
        clock.advance(60)
        assert is_free(others_turns)


def test_a_turn_that_never_ends_is_not_kept_for_ever(
    turns: Turns, others_turns: Turns, clock: Clock
) -> None:
    with turns.take(HOST, Deadline(5)):
        for _ in range(60):
            clock.advance(5)
            turns.keep()
        assert is_free(others_turns)


def test_a_turn_that_is_over_is_not_kept(turns: Turns, others_turns: Turns, clock: Clock) -> None:
    with turns.take(HOST, Deadline(5)):
        pass
    with others_turns.take(HOST, Deadline(5)):
        clock.advance(60)
        turns.keep()
        assert is_free(turns)


class Leases:
    """Stands in for the leases of a store that goes away in the middle of a turn."""

    def __init__(self) -> None:
        self.renewed: List[object] = []

    def acquire(self, *_: object) -> bool:
        return True

    def renew(self, holders: List[str], *_: object) -> None:
        self.renewed.append(holders)

    def release(self, *_: object) -> None:
        raise StoreUnavailable("away")


def test_a_turn_that_cannot_be_given_back_does_not_spoil_the_work_that_was_done() -> None:
    leases = Leases()
    turns = Turns(leases, Clock())
    with turns.take(HOST, Deadline(5)):
        done = True
    assert done
    turns.keep()
    assert leases.renewed == [], "it has to run out"
