from __future__ import annotations

from typing import Callable

import pytest

from backend.errors import HetznerBusy, HostBusy, StoreUnavailable
from backend.hetzner.dns import Hetzner
from backend.hetzner.zones import Zones
from backend.model import Deadline, RecordType
from backend.store import Store
from backend.store.leases import wait_for_host
from backend.sync.publisher import Publisher
from tests.unit.fakes import Clock, FakeCloudApi, RecordingSink, host, update

HOST = host()
SHORT = 0.01


class CallbackCloud(FakeCloudApi):
    """A fake API that calls `meanwhile` before it writes a record."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        super().__init__("example.com")
        self.meanwhile = meanwhile

    def call(self, method: str, *arguments: object, **named: object) -> object:
        if method == "POST":
            self.meanwhile()
        return super().call(method, *arguments, **named)  # type: ignore[arg-type]


@pytest.fixture
def publish(store: Store, clock: Clock, sink: RecordingSink) -> Callable[..., Publisher]:
    """Return a function that publishes an address and calls `meanwhile` during the write."""

    def run(meanwhile: Callable[[Publisher], None]) -> Publisher:
        cloud = CallbackCloud(lambda: meanwhile(publisher))
        zones = Zones([Hetzner(cloud, 21600)], 86400, clock)
        publisher = Publisher(store, zones, sink, cache_ttl=300, clock=clock)
        attempt = publisher.begin(HOST, Deadline(5), update("198.51.100.1"))
        publisher.complete(attempt, [RecordType.A])
        return publisher

    return run


def is_free(store: Store, clock: Clock, name: str = "host.example.com") -> bool:
    """Check whether another process can lock a host, without keeping the lock."""
    records = store.records.lock(host(name), "elsewhere 1 x", clock())
    if records is not None:
        store.records.unlock(host(name), "elsewhere 1 x", [], clock())
    return records is not None


def test_a_host_is_locked_during_calls_to_hetzner(
    publish: Callable[..., Publisher], other_store: Store, clock: Clock
) -> None:
    seen = []

    def check(_: Publisher) -> None:
        seen.append(is_free(other_store, clock))
        seen.append(is_free(other_store, clock, "other.example.com"))

    publish(check)
    assert seen == [False, True]
    assert is_free(other_store, clock)


def test_a_failure_or_a_bug_unlocks_the_host(
    publish: Callable[..., Publisher], other_store: Store, clock: Clock
) -> None:
    for error in (HetznerBusy("busy"), ValueError("a bug")):

        def fail(_: Publisher, error: Exception = error) -> None:
            raise error

        with pytest.raises(type(error)):
            publish(fail)
        assert is_free(other_store, clock)


def test_a_lock_lasts_while_hetzner_is_slow(
    publish: Callable[..., Publisher], other_store: Store, clock: Clock
) -> None:
    seen = []

    def advance(publisher: Publisher) -> None:
        for _ in range(10):
            clock.advance(5)
            publisher.keep_locks()
            seen.append(is_free(other_store, clock))

    publish(advance)
    assert seen == [False] * 10


@pytest.mark.parametrize("is_kept", [False, True])
def test_a_lock_ends_without_renewal_and_after_two_minutes(
    publish: Callable[..., Publisher], other_store: Store, clock: Clock, is_kept: bool
) -> None:
    seen = []

    def hang(publisher: Publisher) -> None:
        for _ in range(60):
            clock.advance(5)
            if is_kept:
                publisher.keep_locks()
        seen.append(is_free(other_store, clock))

    publish(hang)
    assert seen == [True]


def test_a_released_lock_is_not_renewed(
    publish: Callable[..., Publisher], store: Store, other_store: Store, clock: Clock
) -> None:
    publisher = publish(lambda _: None)
    assert other_store.records.lock(HOST, "elsewhere 1 x", clock()) is not None
    clock.advance(60)
    publisher.keep_locks()
    assert is_free(store, clock)


def test_waiting_for_a_locked_host_names_the_host() -> None:
    with pytest.raises(HostBusy, match=r"host\.example\.com"):
        wait_for_host(HOST, lambda: None, Deadline(SHORT))


def test_an_update_is_stored_although_the_host_is_locked(
    store: Store, other_store: Store, clock: Clock
) -> None:
    assert other_store.records.lock(HOST, "elsewhere 1 x", clock()) is not None
    assert store.records.lock(HOST, "here 1 y", clock(), update("198.51.100.1"), 10) is None
    assert str(store.records.of(HOST)[RecordType.A].desired.address) == "198.51.100.1"


def test_a_lock_expires_if_the_store_cannot_release_it(
    publish: Callable[..., Publisher],
    store: Store,
    other_store: Store,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise StoreUnavailable("unavailable")

    monkeypatch.setattr(store.records, "unlock", fail)
    with pytest.raises(StoreUnavailable):
        publish(lambda _: None)
    assert not is_free(other_store, clock)
    clock.advance(30)
    assert is_free(other_store, clock)
