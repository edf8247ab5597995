"""What the operator hears of updates that a host itself sends wrong: each flaw once, not each time.

A router shows its owner at best the word `dnserr`: the log is where the sentence can be read.
"""

from __future__ import annotations

import threading
import time
from typing import Callable, Dict, Optional, Tuple

from backend.access.token_bucket import TokenBucket
from backend.events import Rejected
from backend.model import Hostname
from backend.reporting.reporter import Reporter

# Whoever holds a key can make up another flaw each time.
_LINES_AT_ONCE, _LINES_A_SECOND = 20.0, 0.1
_MOST_REMEMBERED = 10_000


class Rejections:
    """Tells of a host's flaw when it is another than before. Safe to share between threads."""

    def __init__(self, reporter: Reporter, clock: Callable[[], float] = time.monotonic) -> None:
        self._reporter = reporter
        self._clock = clock
        self._lines = TokenBucket(_LINES_AT_ONCE, _LINES_A_SECOND, clock())
        self._lock = threading.Lock()
        # By the host whose key it was, and the one it named: a request may name several, of which
        # only some are sound.
        self._told: Dict[Tuple[Hostname, Hostname], str] = {}

    def tell(
        self, host: Hostname, source: str, flaw: str, named: Optional[Hostname] = None
    ) -> None:
        """Tell of an update that had the right key, and nothing could be made of.

        `named` is the host it was about, where that isn't the one whose key it had.
        """
        with self._lock:
            about = (host, named or host)
            if self._told.get(about) == flaw or not self._lines.take(self._clock()):
                return
            self._told[about] = flaw
            if len(self._told) > _MOST_REMEMBERED:
                self._told.pop(next(iter(self._told)))
        self._reporter.report(Rejected(host, source, flaw))

    def forget(self, host: Hostname, named: Optional[Hostname] = None) -> None:
        """Let the next flaw be news, `named` as in `tell`: a sound update has been sent."""
        about = (host, named or host)
        if about in self._told:
            with self._lock:
                self._told.pop(about, None)
