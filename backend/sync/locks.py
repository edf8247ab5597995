"""One update of a host at a time, in all processes on all machines."""

from __future__ import annotations

import contextlib
import time
from typing import Callable, Dict, Iterator

from backend.errors import HostBusy, StoreUnavailable
from backend.hetzner.client import Deadline
from backend.model import Hostname
from backend.store.leases import Leases, new_owner

KEEP_SECONDS = 5.0  # how often `keep` has to be called
_LEASE_SECONDS = 20.0
_POLL_SECONDS = 0.05
# Whoever takes longer hangs, and mustn't block its host for ever.
_LONGEST_LOCK = 120.0


class HostLocks:
    """Holds a lease for each host this process is updating. Safe to share between threads."""

    def __init__(self, leases: Leases, clock: Callable[[], float] = time.time) -> None:
        self._leases = leases
        self._clock = clock
        self._taken: Dict[str, float] = {}  # when each turn began, by its holder

    @contextlib.contextmanager
    def take(self, host: Hostname, deadline: Deadline) -> Iterator[None]:
        """Wait for the turn to update a host, and keep it to the end of the block.

        Raises:
            HostBusy: the turn doesn't come in time.

        """
        lease, owner = f"host {host}", new_owner()
        while not self._leases.acquire(lease, owner, self._clock(), _LEASE_SECONDS):
            if deadline.has_passed:
                raise HostBusy(f"Another update of {host} is still under way.")
            time.sleep(_POLL_SECONDS)
        self._taken[owner] = self._clock()
        try:
            yield
        finally:
            self._taken.pop(owner, None)
            with contextlib.suppress(StoreUnavailable):  # then it runs out by itself
                self._leases.release(lease, owner)

    def keep(self) -> None:
        """Prolong the turns that are taken: Hetzner may be slow, but nobody is to overtake."""
        now = self._clock()
        working = [
            owner for owner, since in list(self._taken.items()) if now - since < _LONGEST_LOCK
        ]
        if working:
            self._leases.renew(working, now, _LEASE_SECONDS)
