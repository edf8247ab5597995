"""The background jobs of a worker."""

from __future__ import annotations

import logging
import threading
import time
from typing import Callable, Optional

from backend.errors import DyndnsError

logger = logging.getLogger(__name__)


class Loop:
    """Runs a job every few seconds, on its own thread. A job that fails is run again."""

    def __init__(
        self,
        name: str,
        interval: float,
        action: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._interval = interval
        self._action = action
        self._clock = clock
        self._busy_since: Optional[float] = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def problem(self, patience: float) -> str:
        """Return the problem: the thread has died, or a run takes longer than `patience` seconds.

        A loop that wasn't started, or was stopped, has none.
        """
        if self._thread.ident is None or self._stopping.is_set():
            return ""
        if not self._thread.is_alive():
            return f"{self._name} has died"
        since = self._busy_since
        hangs = since is not None and self._clock() - since > patience
        return f"{self._name} hangs" if hangs else ""

    def stop(self, seconds: float) -> None:
        """Stop the thread, and wait up to so many seconds for its end."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stopping.wait(self._interval):
            self._busy_since = self._clock()
            try:
                self._action()
            except DyndnsError as error:
                logger.debug("%s: %s", self._name, error)  # the place that raised it has logged it
            except Exception:
                logger.exception("%s failed; it runs again in %g s", self._name, self._interval)
            self._busy_since = None
