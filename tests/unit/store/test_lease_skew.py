"""A lease is valid for its duration plus the permitted clock skew."""

from __future__ import annotations

import pytest

from backend.store import Store
from backend.store.leases import LeaderElection

NOW, SECONDS, SKEW = 1_800_000_000.0, 30.0, 60.0

beyond = pytest.mark.parametrize(("ahead", "is_taken"), [(SKEW - 1, False), (SKEW + 1, True)])


@beyond
def test_a_lease_beyond_the_clock_skew_is_taken_over(
    store: Store, other_store: Store, ahead: float, *, is_taken: bool
) -> None:
    assert store.leases.acquire("host", "elsewhere 1 one", NOW + ahead, SECONDS)
    assert other_store.leases.acquire("host", "two", NOW, SECONDS) is is_taken


@beyond
def test_a_leader_beyond_the_clock_skew_is_replaced(
    store: Store, other_store: Store, ahead: float, *, is_taken: bool
) -> None:
    assert store.leases.acquire("watch", "elsewhere 1 one", NOW + ahead, SECONDS)
    assert LeaderElection(other_store.leases, "watch", SECONDS).keep(NOW) is is_taken
