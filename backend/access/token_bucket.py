"""How much of something may happen: so much at once, and then so much a second."""

from __future__ import annotations


class TokenBucket:
    """A bucket that fills up again. Its owner sees to it that one thread at a time asks."""

    def __init__(self, at_once: float, a_second: float, now: float) -> None:
        self._at_once = at_once
        self._a_second = a_second
        self._left = at_once
        self._at = now

    def take(self, now: float) -> bool:
        """Take one, if there is one. `now` is in seconds; a clock that is set back gives none."""
        passed = max(0.0, now - self._at)
        self._left = min(self._at_once, self._left + passed * self._a_second)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
