"""Shares the publishing threads of a process among hosts, so that one host can't use them all."""

from __future__ import annotations

import threading
from typing import Set

from backend.errors import HetznerBusy, HostBusy
from backend.hetzner.api import Deadline
from backend.model import Hostname

# Each waiting request holds a request thread, and unchanged updates need some of those.
_MOST_WAITING = 6


class Slots:
    """Gives each host one slot at most, and lets one request of it wait for that slot."""

    def __init__(self, number: int) -> None:
        self._free = number
        self._busy: Set[Hostname] = set()
        self._waiting: Set[Hostname] = set()
        self._changed = threading.Condition()

    def acquire(self, host: Hostname, deadline: Deadline) -> None:
        """Take the slot of a host.

        A request may wait for another one of its host, since routers send A and AAAA as two
        requests at once. Nobody waits for a slot of another host.

        Raises:
            HostBusy: another request of the host waits already, or the wait takes too long.
            HetznerBusy: other hosts have all slots.

        """
        with self._changed:
            if host in self._busy or host in self._waiting:
                self._wait(host, deadline)
            if not self._free:
                raise HetznerBusy("Many updates are waiting for Hetzner: this one is in the queue.")
            self._free -= 1
            self._busy.add(host)

    def release(self, host: Hostname) -> None:
        """Give the slot of a host back."""
        with self._changed:
            self._free += 1
            self._busy.remove(host)
            self._changed.notify_all()

    def _wait(self, host: Hostname, deadline: Deadline) -> None:
        if host in self._waiting or len(self._waiting) >= _MOST_WAITING:
            raise HostBusy(f"Other updates of {host} are under way: this one is in the queue.")
        self._waiting.add(host)
        try:
            is_free = self._changed.wait_for(lambda: host not in self._busy, deadline.remaining())
        finally:
            self._waiting.remove(host)
        if not is_free:
            raise HostBusy(f"Another update of {host} is still under way.")
