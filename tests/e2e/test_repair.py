"""Manual changes at Hetzner are reverted, and the history shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

import pytest

from backend.model import Hostname
from backend.store import Store
from sandbox import Sandbox
from tests.e2e.cluster import Replica, in_dns, until

HOST = "host.example.com"
_SECONDS = 60.0

pytestmark = pytest.mark.real()


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(zones=["example.com"], action_seconds=0.3) as sandbox:
        yield sandbox


@pytest.fixture
def replica(tmp_path: Path, sandbox: Sandbox) -> Iterator[Replica]:
    replica = Replica(tmp_path, sandbox, [HOST], REQUEST_CACHE_TTL="1")
    try:
        replica.start()
        yield replica
    finally:
        code = replica.stop()
    assert code == 0


def repairs(replica: Replica) -> list[tuple[str, str, str, str]]:
    """Return the repairs in the history: event, old and new address, and reason."""
    store = Store(f"sqlite:///{replica.log.parent / 'hetzner-dyndns.db'}")
    try:
        entries = store.history.find(Hostname.parse(HOST))
    finally:
        store.close()
    return [
        (entry.event, entry.old or "", entry.new or "", entry.protocol)
        for entry in entries
        if entry.why == "restored: it was changed at Hetzner"
    ]


@pytest.mark.parametrize(
    ("by_hand", "entry"),
    [
        (["198.51.100.66"], ("replaced", "198.51.100.66", "198.51.100.1", "dyndns2")),
        ([], ("created", "", "198.51.100.1", "dyndns2")),
    ],
    ids=["changed", "removed"],
)
def test_an_unchanged_update_reverts_a_manual_edit(
    replica: Replica, sandbox: Sandbox, by_hand: list[str], entry: tuple[str, str, str, str]
) -> None:
    assert replica.update(HOST, "198.51.100.1") == (200, "good 198.51.100.1\n")
    until(lambda: in_dns(sandbox, [HOST])[HOST] == ["198.51.100.1"], replica.output, _SECONDS)
    sandbox.publish(HOST, "A", *by_hand)
    # Until REQUEST_CACHE_TTL ends, the service answers from its cache.
    until(
        lambda: replica.update(HOST, "198.51.100.1")[0] == 200 and repairs(replica),
        lambda: f"not reverted:\n{replica.output()}",
        _SECONDS,
    )
    until(lambda: in_dns(sandbox, [HOST])[HOST] == ["198.51.100.1"], replica.output, _SECONDS)
    assert repairs(replica) == [entry]
