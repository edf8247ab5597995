"""Something done again and again on a thread of its own, until it is told to stop."""

from __future__ import annotations

import logging
import threading
import time
from typing import Callable, Optional

from backend.errors import DyndnsError

logger = logging.getLogger(__name__)


class Loop:
    """Runs an action every few seconds. A failure is logged, and the loop goes on."""

    def __init__(
        self,
        name: str,
        interval: float,
        action: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._clock = clock
        self._was_started = False
        self._busy_since: Optional[float] = None
        self._interval = interval
        self._action = action
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._was_started = True
        self._thread.start()

    def flaw(self, patience: float) -> str:
        """Return what is wrong: it has died, or one round takes longer than `patience` seconds."""
        if not self._was_started or self._stopping.is_set():
            return ""
        if not self._thread.is_alive():
            return f"{self._name} has died"
        since = self._busy_since
        hangs = since is not None and self._clock() - since > patience
        return f"{self._name} hangs" if hangs else ""

    def stop(self, seconds: float) -> None:
        """Tell the thread to stop, and wait for it so long at most."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stopping.wait(self._interval):
            self._busy_since = self._clock()
            try:
                self._action()
            except DyndnsError as error:
                logger.debug("%s: %s", self._name, error)  # whoever raised it has told already
            except Exception:
                logger.exception("%s failed; it goes on", self._name)
            self._busy_since = None
