"""What the operator hears of updates that a host itself sends wrong: each flaw once, not each time.

A router shows its owner at best the word `dnserr`: the log is where the sentence can be read.
"""

from __future__ import annotations

import threading
import time
from typing import Callable, Dict

from backend.access.token_bucket import TokenBucket
from backend.events import Rejected
from backend.model import Hostname
from backend.reporting.reporter import Reporter

# Whoever holds a key can make up another flaw each time.
_LINES_AT_ONCE, _LINES_A_SECOND = 20.0, 0.1


class Rejections:
    """Tells of a host's flaw when it is another than before. Safe to share between threads."""

    def __init__(self, reporter: Reporter, clock: Callable[[], float] = time.monotonic) -> None:
        self._reporter = reporter
        self._clock = clock
        self._lines = TokenBucket(_LINES_AT_ONCE, _LINES_A_SECOND, clock())
        self._lock = threading.Lock()
        self._told: Dict[Hostname, str] = {}

    def tell(self, host: Hostname, source: str, flaw: str) -> None:
        """Tell of an update that had the right key, and nothing could be made of."""
        with self._lock:
            is_news = self._told.get(host) != flaw and self._lines.take(self._clock())
            self._told[host] = flaw
        if is_news:
            self._reporter.report(Rejected(host, source, flaw))

    def forget(self, host: Hostname) -> None:
        """Let the next flaw of a host be news: it has sent a sound update."""
        if host in self._told:
            with self._lock:
                self._told.pop(host, None)
