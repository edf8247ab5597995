"""Something done again and again on a thread of its own, until it is told to stop."""

from __future__ import annotations

import logging
import threading
from typing import Callable

from backend.errors import DyndnsError

logger = logging.getLogger(__name__)


class Loop:
    """Runs an action every few seconds. A failure is logged, and the loop goes on."""

    def __init__(self, name: str, interval: float, action: Callable[[], None]) -> None:
        self._name = name
        self._interval = interval
        self._action = action
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Tell the thread to stop, and wait for it so long at most."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stopping.wait(self._interval):
            try:
                self._action()
            except DyndnsError as error:
                logger.debug("%s: %s", self._name, error)  # whoever raised it has told already
            except Exception:
                logger.exception("%s failed; it goes on", self._name)
