from __future__ import annotations

from typing import List

import pytest

from backend.errors import HostBusy, StoreUnavailable
from backend.hetzner.client import Deadline
from backend.store import Store
from backend.sync.locks import HostLocks
from tests.unit.fakes import Clock, host

HOST = host()
A_MOMENT = 0.01


@pytest.fixture
def host_locks(store: Store, clock: Clock) -> HostLocks:
    return HostLocks(store.leases, clock)


@pytest.fixture
def other_locks(other_store: Store, clock: Clock) -> HostLocks:
    """The turns of another process."""
    return HostLocks(other_store.leases, clock)


def is_free(host_locks: HostLocks) -> bool:
    try:
        with host_locks.take(HOST, Deadline(A_MOMENT)):
            return True
    except HostBusy:
        return False


def test_one_updates_a_host_at_a_time_here_and_elsewhere(
    host_locks: HostLocks, other_locks: HostLocks
) -> None:
    with host_locks.take(HOST, Deadline(5)):
        assert not is_free(other_locks)
        assert not is_free(host_locks)
    assert is_free(other_locks)
    assert is_free(host_locks)


def test_whoever_waits_in_vain_is_told_for_which_host(
    host_locks: HostLocks, other_locks: HostLocks
) -> None:
    with host_locks.take(HOST, Deadline(5)), pytest.raises(HostBusy, match=r"host\.example\.com"):  # noqa: SIM117
        with other_locks.take(HOST, Deadline(A_MOMENT)):
            pass


def test_another_host_needs_not_wait(host_locks: HostLocks, other_locks: HostLocks) -> None:
    with host_locks.take(host("other.example.com"), Deadline(5)):
        assert is_free(other_locks)


def test_a_turn_ends_when_its_work_fails(host_locks: HostLocks, other_locks: HostLocks) -> None:
    with pytest.raises(ValueError, match="a bug"), host_locks.take(HOST, Deadline(5)):
        raise ValueError("a bug")
    assert is_free(other_locks)


def test_a_turn_that_is_kept_lasts_while_hetzner_is_slow(
    host_locks: HostLocks, other_locks: HostLocks, clock: Clock
) -> None:
    with host_locks.take(HOST, Deadline(5)):
        for _ in range(10):
            clock.advance(5)
            host_locks.keep()
            assert not is_free(other_locks)


def test_a_turn_that_nobody_keeps_runs_out(
    host_locks: HostLocks, other_locks: HostLocks, clock: Clock
) -> None:
    with host_locks.take(HOST, Deadline(5)):
        clock.advance(60)
        assert is_free(other_locks)


def test_a_turn_that_never_ends_is_not_kept_for_ever(
    host_locks: HostLocks, other_locks: HostLocks, clock: Clock
) -> None:
    with host_locks.take(HOST, Deadline(5)):
        for _ in range(60):
            clock.advance(5)
            host_locks.keep()
        assert is_free(other_locks)


def test_a_turn_that_is_over_is_not_kept(
    host_locks: HostLocks, other_locks: HostLocks, clock: Clock
) -> None:
    with host_locks.take(HOST, Deadline(5)):
        pass
    with other_locks.take(HOST, Deadline(5)):
        clock.advance(60)
        host_locks.keep()
        assert is_free(host_locks)


class Leases:
    """Stands in for the leases of a store that goes away in the middle of a turn."""

    def __init__(self) -> None:
        self.renewed: List[object] = []

    def acquire(self, *_: object) -> bool:
        return True

    def renew(self, owners: List[str], *_: object) -> None:
        self.renewed.append(owners)

    def release(self, *_: object) -> None:
        raise StoreUnavailable("away")


def test_a_turn_that_cannot_be_given_back_does_not_spoil_the_work_that_was_done() -> None:
    leases = Leases()
    host_locks = HostLocks(leases, Clock())
    with host_locks.take(HOST, Deadline(5)):
        done = True
    assert done
    host_locks.keep()
    assert leases.renewed == [], "it has to run out"
