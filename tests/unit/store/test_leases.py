from __future__ import annotations

import subprocess
import sys

import pytest
import sqlalchemy as sa

from backend.store import Store
from backend.store.leases import LeaderElection
from backend.store.schema import reports

NOW, SECONDS = 1_800_000_000.0, 30.0


def test_one_of_two_owners_gets_a_lease(store: Store, other_store: Store) -> None:
    assert store.leases.acquire("host", "one", NOW, SECONDS)
    assert not other_store.leases.acquire("host", "two", NOW, SECONDS)
    assert not store.leases.acquire("host", "two", NOW, SECONDS)


def test_leases_with_different_names_are_independent(store: Store) -> None:
    assert store.leases.acquire("host a", "one", NOW, SECONDS)
    assert store.leases.acquire("host b", "two", NOW, SECONDS)


def test_any_owner_can_acquire_an_expired_lease(store: Store, other_store: Store) -> None:
    store.leases.acquire("host", "one", NOW, SECONDS)
    assert not other_store.leases.acquire("host", "two", NOW + SECONDS - 1, SECONDS)
    assert other_store.leases.acquire("host", "two", NOW + SECONDS + 1, SECONDS)
    assert not store.leases.acquire("host", "one", NOW + SECONDS + 2, SECONDS)


def test_any_owner_can_acquire_a_lease_far_in_the_future(store: Store, other_store: Store) -> None:
    future = NOW + 86400
    for name in ("acquired", "led"):
        store.leases.acquire(name, "elsewhere 1 one", future, SECONDS)
    assert other_store.leases.acquire("acquired", "two", NOW, SECONDS)
    assert LeaderElection(other_store.leases, "led", SECONDS).keep(NOW)
    assert not store.leases.acquire("acquired", "one", NOW, SECONDS)


def test_a_lease_stays_valid_when_clocks_differ_slightly(store: Store) -> None:
    store.leases.acquire("host", "one", NOW + 50, SECONDS)
    assert not store.leases.acquire("host", "two", NOW, SECONDS)
    assert not LeaderElection(store.leases, "host", SECONDS).keep(NOW)


def test_acquiring_a_lease_again_extends_it(store: Store) -> None:
    store.leases.acquire("host", "one", NOW, SECONDS)
    assert store.leases.acquire("host", "one", NOW + 20, SECONDS)
    assert not store.leases.acquire("host", "two", NOW + SECONDS + 1, SECONDS)
    assert store.leases.acquire("host", "two", NOW + 20 + SECONDS + 1, SECONDS)


def test_any_owner_can_acquire_a_released_lease(store: Store, other_store: Store) -> None:
    store.leases.acquire("host", "one", NOW, SECONDS)
    store.leases.release("host", "one")
    assert other_store.leases.acquire("host", "two", NOW, SECONDS)


def test_only_the_owner_can_release_a_lease(store: Store) -> None:
    store.leases.acquire("host", "one", NOW, SECONDS)
    store.leases.release("host", "two")
    store.leases.release("missing", "one")
    assert not store.leases.acquire("host", "two", NOW, SECONDS)


def test_a_former_owner_cannot_release_the_lease_of_its_successor(store: Store) -> None:
    store.leases.acquire("host", "one", NOW, SECONDS)
    store.leases.acquire("host", "two", NOW + SECONDS + 1, SECONDS)
    store.leases.release("host", "one")
    assert not store.leases.acquire("host", "three", NOW + SECONDS + 2, SECONDS)


def test_a_lease_survives_a_restart(store: Store, url: str) -> None:
    store.leases.acquire("host", "one", NOW, SECONDS)
    store.close()
    reopened = Store(url)
    assert not reopened.leases.acquire("host", "two", NOW, SECONDS)
    reopened.close()


def test_the_leases_of_several_owners_are_renewed_together(store: Store) -> None:
    for owner in ("one", "two", "three"):
        store.leases.acquire(f"of {owner}", owner, NOW, SECONDS)
    store.leases.renew(["one", "two"], NOW + 20, SECONDS)
    later = NOW + SECONDS + 1
    taken = [store.leases.acquire(f"of {name}", "x", later, 1) for name in ("one", "two", "three")]
    assert taken == [False, False, True]


def test_renewing_does_not_regain_a_lost_lease(store: Store) -> None:
    store.leases.acquire("host", "one", NOW, SECONDS)
    store.leases.acquire("host", "two", NOW + SECONDS + 1, SECONDS)
    store.leases.renew(["one"], NOW + SECONDS + 2, SECONDS)
    assert not store.leases.acquire("host", "one", NOW + SECONDS + 3, SECONDS)


class TestALeader:
    @pytest.fixture
    def one(self, store: Store) -> LeaderElection:
        return LeaderElection(store.leases, "watch", SECONDS)

    @pytest.fixture
    def two(self, other_store: Store) -> LeaderElection:
        return LeaderElection(other_store.leases, "watch", SECONDS)

    def test_is_one_process_until_its_lease_ends(
        self, one: LeaderElection, two: LeaderElection
    ) -> None:
        assert one.keep(NOW)
        assert not two.keep(NOW + SECONDS - 1)
        assert two.keep(NOW + SECONDS + 1)
        assert not one.keep(NOW + SECONDS + 2)

    def test_stays_while_it_renews_its_lease(
        self, one: LeaderElection, two: LeaderElection
    ) -> None:
        for seconds in range(0, 300, 10):
            assert one.keep(NOW + seconds)
            assert not two.keep(NOW + seconds)

    def test_writes_only_when_half_of_its_lease_is_over(
        self, store: Store, one: LeaderElection
    ) -> None:
        one.keep(NOW)
        one.keep(NOW + SECONDS / 2 - 1)
        assert store.leases.acquire("watch", "two", NOW + SECONDS + 1, SECONDS)

    def test_hands_over_when_it_resigns(self, one: LeaderElection, two: LeaderElection) -> None:
        one.keep(NOW)
        one.resign()
        assert two.keep(NOW)
        one.resign()
        assert not one.keep(NOW)

    def test_takes_over_at_once_from_a_killed_process(
        self, store: Store, dead_owner: str, one: LeaderElection, two: LeaderElection
    ) -> None:
        assert store.leases.acquire("watch", dead_owner, NOW, SECONDS)
        assert one.keep(NOW)
        assert not two.keep(NOW)


def test_once_succeeds_for_one_process_per_period(store: Store, other_store: Store) -> None:
    results = [
        one.leases.once("logins", "first", NOW, SECONDS) for one in (store, other_store, store)
    ]
    assert results == [True, False, False]
    assert other_store.leases.once("logins", "second", NOW, SECONDS)
    assert other_store.leases.once("logins", "first", NOW + SECONDS + 1, SECONDS)
    assert not store.leases.once("logins", "first", NOW + SECONDS + 2, SECONDS)


def test_only_reports_whose_time_is_over_are_pruned(store: Store) -> None:
    store.leases.once("logins", "old", NOW, SECONDS)
    store.leases.once("logins", "new", NOW + SECONDS, SECONDS)
    store.leases.prune(NOW + SECONDS + 1)
    query = sa.select(reports.c.key)
    with store.leases._database.read() as connection:  # noqa: SLF001
        assert connection.execute(query).scalars().all() == ["new"]


@pytest.fixture
def dead_owner() -> str:
    script = "from backend.store.leases import new_owner; print(new_owner())"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return ran.stdout.strip()


def test_the_lease_of_a_killed_local_process_is_free(store: Store, dead_owner: str) -> None:
    assert store.leases.acquire("watch", dead_owner, NOW, SECONDS)
    assert store.leases.acquire("watch", "two", NOW, SECONDS)
    assert not store.leases.acquire("watch", "three", NOW, SECONDS)
