"""Whether the service is well: the store answers, and every worker's threads are alive."""

from __future__ import annotations

import time
from typing import Callable, List, Optional, Sequence

from backend.errors import StoreUnavailable
from backend.workers.slots import Slots

PULSE_SECONDS = 5.0
# However slow Hetzner is, the longest honest round ends in three minutes.
_PATIENCE = 300.0
_LATE = 60.0


class Health:
    """Knows this worker's threads, and by its slots how the other workers are."""

    def __init__(
        self,
        ping: Callable[[], None],
        slots: Optional[Slots] = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ping = ping
        self._slots = slots
        self._clock = clock
        self.watched: Sequence[Callable[[float], str]] = ()  # each thread's flaw, by our patience

    def pulse(self) -> None:
        """Tell the other workers how this one is; to be called every `PULSE_SECONDS`."""
        if self._slots is not None:
            self._slots.note(self._clock(), ", ".join(self._own()))

    def flaws(self) -> List[str]:
        """Return what is wrong in any worker; nothing when all is well."""
        found = list(dict.fromkeys([*self._own(), *self._others()]))
        try:
            self._ping()
        except StoreUnavailable:
            found.append("the store doesn't answer")
        return found

    def _own(self) -> List[str]:
        return [flaw for flaw in (look(_PATIENCE) for look in self.watched) if flaw]

    def _others(self) -> List[str]:
        notes = {} if self._slots is None else self._slots.notes()
        told = []
        for number, (at, flaws) in notes.items():
            # The monotonic clock is the same in all processes of a machine.
            if self._clock() - at > _LATE:
                told.append(f"worker {number} gives no sign of life")
            told += [flaw for flaw in flaws.split(", ") if flaw]
        return told
