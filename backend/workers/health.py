"""Whether the service is well: the store can be used, and every worker's threads are alive."""

from __future__ import annotations

import time
from typing import Callable, List, Optional, Sequence

from backend.errors import StoreBusy, StoreUnavailable
from backend.workers.slots import Slots

PULSE_SECONDS = 5.0
PROBE_SECONDS = 5.0
# However slow Hetzner is, the longest honest round ends in three minutes.
_PATIENCE = 300.0
_LATE = 60.0
# A backup, or a replica that brings the tables up to date, keeps the store locked for a while.
_LOCKED = 30.0


class Health:
    """Knows this worker's threads, and by its slots how the other workers are."""

    def __init__(
        self,
        ping: Callable[[], None],
        probe: Callable[[], None],
        slots: Optional[Slots] = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ping = ping
        self._probe = probe
        self._slots = slots
        self._clock = clock
        self._store_flaw = ""
        self._probed_at = clock()  # when that went well last
        self.watched: Sequence[Callable[[float], str]] = ()  # each thread's flaw, by our patience

    def probe(self) -> None:
        """Find out whether the store can be written; to be called every `PROBE_SECONDS`.

        Not by who asks how we are: anybody may, and as often as they want to.
        """
        try:
            self._probe()
        except StoreBusy:
            is_long = self._clock() - self._probed_at > _LOCKED
            self._store_flaw = "the store is locked by another program" if is_long else ""
        except StoreUnavailable:
            self._store_flaw = "the store can't be read and written (the log says why)"
        else:
            self._store_flaw = ""
            self._probed_at = self._clock()

    def pulse(self) -> None:
        """Tell the other workers how this one is; to be called every `PULSE_SECONDS`."""
        if self._slots is not None:
            self._slots.note(self._clock(), ", ".join(self._own()))

    def flaws(self) -> List[str]:
        """Return what is wrong in any worker; nothing when all is well."""
        found = [*self._own(), *self._others()]
        try:
            self._ping()
        except StoreBusy:
            pass  # how long that lasts is known to `probe`
        except StoreUnavailable:
            found.append("the store can't be read (the log says why)")
        return list(dict.fromkeys(found))

    def _own(self) -> List[str]:
        found = [self._store_flaw, *(look(_PATIENCE) for look in self.watched)]
        return [flaw for flaw in found if flaw]

    def _others(self) -> List[str]:
        notes = {} if self._slots is None else self._slots.notes()
        told = []
        for number, (at, flaws) in notes.items():
            # The monotonic clock is the same in all processes of a machine.
            if self._clock() - at > _LATE:
                told.append(f"worker {number} gives no sign of life")
            told += [flaw for flaw in flaws.split(", ") if flaw]
        return told
