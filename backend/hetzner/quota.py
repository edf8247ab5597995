"""How many calls Hetzner still takes: what the headers of its answers say of the rate limit.

Facts: https://docs.hetzner.cloud/cloud.spec.json, section "Rate Limiting". That there is more than
one bucket shows in recorded answers.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Callable, Dict, Iterator, Mapping

_HOUR = 3600.0
# Other processes draw on the same buckets: the last few calls are theirs, perhaps.
_LEAST = 3.0


@dataclass(frozen=True)
class Quota:
    """What one bucket held at the last answer.

    `limit` is calls an hour; the bucket is refilled continuously. `at` is monotonic seconds.
    """

    limit: int
    remaining: int
    at: float

    def level(self, now: float) -> float:
        """Return how many calls the bucket holds by now, if nobody else draws on it."""
        return min(self.limit, self.remaining + (now - self.at) * self.limit / _HOUR)


class Quotas:
    """The buckets of one project. Safe to share between threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._quotas: Dict[int, Quota] = {}
        self._bucket_of: Dict[str, int] = {}  # learnt from the answers: none is documented

    def __iter__(self) -> Iterator[Quota]:
        """Go through the buckets as the last answers told them."""
        return iter(list(self._quotas.values()))

    def note(self, kind: str, headers: Mapping[str, str]) -> None:
        """Learn from the headers of an answer to a call of some kind."""
        try:
            limit = int(headers["ratelimit-limit"])
            remaining = int(headers["ratelimit-remaining"])
        except (KeyError, ValueError):
            return  # a 401 carries none
        if limit > 0:
            self._quotas[limit] = Quota(limit, remaining, self._clock())
            self._bucket_of[kind] = limit

    def pause(self, kind: str) -> float:
        """Return the seconds until a call of some kind would be taken; 0 when it would be now."""
        quota = self._quotas.get(self._bucket_of.get(kind, 0))
        if quota is None:
            return 0.0
        missing = _LEAST - quota.level(self._clock())
        return max(0.0, missing * _HOUR / quota.limit)

    def is_below(self, share: float) -> bool:
        """Whether a bucket holds less than a share of its limit."""
        now = self._clock()
        return any(quota.level(now) < quota.limit * share for quota in list(self._quotas.values()))
