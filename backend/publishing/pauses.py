"""How long a host's next try has to wait: after a failure, and beyond its share of the quota."""

from __future__ import annotations

import random
import threading
import time
from collections import OrderedDict
from typing import Callable, Optional, Tuple

from backend.errors import DyndnsError, HetznerBusy, ShareUsedUp
from backend.model import Hostname

_FIRST_PAUSE = 5.0
_LONGEST_PAUSE = 60.0

# While Hetzner's quota is short, a host may try so often at once, and then once in so long.
_TRIES_AT_ONCE = 4.0
_SECONDS_A_TRY = 120.0
_MOST_HOSTS = 20_000


def pause_after(attempts: int, error: Optional[DyndnsError] = None) -> float:
    """Seconds until the next try: growing, capped, and spread so that not all come at once."""
    grown = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(attempts, 10))
    asked = error.retry_after if isinstance(error, HetznerBusy) else 0.0
    # Nothing secret comes of it.
    return max(asked, grown * random.uniform(0.5, 1.0))  # noqa: S311


class Shares:
    """Keeps a host that tries all the time from using up what all hosts share.

    Safe to share between threads.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._left: OrderedDict[Hostname, Tuple[float, float]] = OrderedDict()

    def take(self, host: Hostname, *, is_short: bool) -> None:
        """Count a try to change a host's records. Nobody waits while there is plenty for all.

        Raises:
            ShareUsedUp: it has to wait first.

        """
        now = self._clock()
        with self._lock:
            left, at = self._left.pop(host, (_TRIES_AT_ONCE, now))
            left = min(_TRIES_AT_ONCE, left + (now - at) / _SECONDS_A_TRY)
            must_wait = is_short and left < 1
            self._left[host] = (left if must_wait else max(0.0, left - 1), now)
            if len(self._left) > _MOST_HOSTS:
                self._left.popitem(last=False)
        if must_wait:
            raise ShareUsedUp(
                f"{host} has used up its share of calls while the quota is short",
                (1 - left) * _SECONDS_A_TRY,
                mend="its turn comes by itself. If others wait as well, raise REQUEST_CACHE_TTL.",
            )
