"""What the operator hears of failed logins: enough to act, never as much as strangers send."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Callable, Deque, Optional

from backend.access.token_bucket import TokenBucket
from backend.events import LoginFailed, LoginsBlocked
from backend.model import Hostname
from backend.reporting.reporter import Reporter

TELL_SECONDS = 2.0
# A million sources may fail, ten thousand hosts may be tried: lines and pushes a process.
_LINES_AT_ONCE, _LINES_A_SECOND = 20.0, 0.1
_PUSHES_AT_ONCE, _PUSHES_A_SECOND = 5.0, 1 / 60
_MOST_WAITING = 1000


class Alarm:
    """Tells of failed logins. Safe to share between threads."""

    def __init__(
        self,
        reporter: Reporter,
        is_first_to_tell: Callable[[str], bool] = lambda _: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reporter = reporter
        self._is_first_to_tell = is_first_to_tell  # of all processes, within a window
        self._clock = clock
        self._lock = threading.Lock()
        self._lines = TokenBucket(_LINES_AT_ONCE, _LINES_A_SECOND, clock())
        self._pushes = TokenBucket(_PUSHES_AT_ONCE, _PUSHES_A_SECOND, clock())
        self._unsaid_lines = 0
        self._unsaid_pushes = 0
        self._blocked: Deque[LoginsBlocked] = deque(maxlen=_MOST_WAITING)

    def failed(self, source: str, host: Optional[Hostname]) -> None:
        """Tell of the first failure of a source in its window."""
        with self._lock:
            if not self._lines.take(self._clock()):
                self._unsaid_lines += 1
                return
            unsaid, self._unsaid_lines = self._unsaid_lines, 0
        self._reporter.report(LoginFailed(source, host, unsaid))

    def blocked(self, source: str, host: Hostname) -> None:
        """Note that a host is over its limit, to be told by `tell`.

        Only a host that exists is told of, and telling takes the store: done at once, the time of
        the answer would say which hosts there are.
        """
        with self._lock:
            self._blocked.append(LoginsBlocked(source, host))

    def tell(self) -> None:
        """Tell of the hosts that are over their limit."""
        while True:
            with self._lock:
                if not self._blocked:
                    return
                event = self._blocked.popleft()
                if not self._pushes.take(self._clock()):
                    self._unsaid_pushes += 1
                    continue
            if self._is_first_to_tell(f"failed logins {event.host}"):
                self._push(event)

    def _push(self, event: LoginsBlocked) -> None:
        with self._lock:
            unsaid, self._unsaid_pushes = self._unsaid_pushes, 0
        self._reporter.report(LoginsBlocked(event.source, event.host, unsaid))
