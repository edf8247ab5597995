"""The background jobs of a worker, and whether the service is healthy."""

from __future__ import annotations

import logging
import threading
import time
from typing import Callable, Sequence

from backend.errors import DyndnsError, StoreBusy, StoreUnavailable
from backend.metrics import Slots

logger = logging.getLogger(__name__)

# However slow Hetzner is, the longest regular run of a job ends in three minutes.
_PATIENCE = 300.0
_LATE = 60.0
# A backup, or a migration by another replica, may lock the store for a while.
_LOCKED = 30.0


class Loop:
    """Runs a job every few seconds, on its own thread. A job that fails is run again.

    The first run is after `first` seconds, or after the interval.
    """

    def __init__(
        self,
        name: str,
        interval: float,
        action: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        *,
        first: float | None = None,
    ) -> None:
        self._name = name
        self._interval = interval
        self._first = interval if first is None else min(first, interval)
        self._action = action
        self._clock = clock
        self._busy_since: float | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def problem(self, patience: float) -> str:
        """Return the problem: the thread has died, or a run takes longer than `patience` seconds.

        A loop that isn't running has no problem.
        """
        if self._thread.ident is None or self._stopping.is_set():
            return ""
        if not self._thread.is_alive():
            return f"{self._name} has died"
        since = self._busy_since
        hangs = since is not None and self._clock() - since > patience
        return f"{self._name} hangs" if hangs else ""

    def stop(self, seconds: float) -> None:
        """Stop the thread, and wait up to `seconds` for its end."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        pause = self._first
        while not self._stopping.wait(pause):
            pause = self._interval
            self._busy_since = self._clock()
            try:
                self._action()
            except DyndnsError as error:
                logger.debug("%s: %s", self._name, error)  # it was logged where it was raised
            except Exception:
                logger.exception("%s failed; it runs again in %g s", self._name, self._interval)
            self._busy_since = None


class Health:
    """Checks the threads of this worker, and reads the problems of other workers from `slots`."""

    def __init__(
        self,
        ping: Callable[[], None],
        probe: Callable[[], None],
        slots: Slots | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ping = ping
        self._probe = probe
        self._slots = slots
        self._clock = clock
        self._store_problem = ""
        self._probed_at = clock()  # the last success of `probe`
        self.watched: Sequence[Callable[[float], str]] = ()  # each returns the problem of a thread

    def probe(self) -> None:
        """Test whether the store can be read and written. Call this every few seconds.

        A request to ``/healthz`` doesn't call this, since any client may send such requests.
        """
        try:
            self._probe()
        except StoreBusy:
            is_long = self._clock() - self._probed_at > _LOCKED
            self._store_problem = "the store is locked by another program" if is_long else ""
        except StoreUnavailable:
            self._store_problem = "the store can't be read and written (the log says why)"
        else:
            self._store_problem = ""
            self._probed_at = self._clock()

    def pulse(self) -> None:
        """Publish the problems of this worker to the others. Call this every few seconds."""
        if self._slots is not None:
            self._slots.note(self._clock(), ", ".join(self._own()))

    def problems(self) -> list[str]:
        """Return the problems of all workers."""
        found = self._own()
        for number, (at, problems) in (self._slots.notes() if self._slots else {}).items():
            # The monotonic clock is the same in all processes of a machine.
            if self._clock() - at > _LATE:
                found.append(f"worker {number} doesn't respond")
            found += [problem for problem in problems.split(", ") if problem]
        try:
            self._ping()
        except StoreBusy:
            pass  # `probe` reports a lock that lasts
        except StoreUnavailable:
            found.append("the store can't be read (the log says why)")
        return list(dict.fromkeys(found))

    def _own(self) -> list[str]:
        found = [self._store_problem, *(problem_of(_PATIENCE) for problem_of in self.watched)]
        return [problem for problem in found if problem]
