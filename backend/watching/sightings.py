"""When hosts were last heard of: gathered here, written every few seconds."""

from __future__ import annotations

import threading
import time
from typing import Callable, Dict

from backend.errors import StoreUnavailable
from backend.model import Hostname
from backend.store.hosts import Hosts

FLUSH_SECONDS = 3.0


class Sightings:
    """Spares an unchanged update its write. Safe to share between threads."""

    def __init__(self, hosts: Hosts, clock: Callable[[], float] = time.time) -> None:
        self._hosts = hosts
        self._clock = clock
        self._lock = threading.Lock()
        self._gathered: Dict[Hostname, float] = {}

    def note(self, host: Hostname, at: float) -> None:
        """Note that a host was heard of (UTC seconds)."""
        with self._lock:
            self._gathered[host] = at

    def flush(self) -> None:
        """Write what was gathered; keep it for the next time when the store is away."""
        with self._lock:
            gathered, self._gathered = self._gathered, {}
        if not gathered:
            return
        try:
            self._hosts.see(gathered, self._clock())
        except StoreUnavailable:
            with self._lock:
                self._gathered = {**gathered, **self._gathered}
            raise
