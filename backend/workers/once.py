"""A word that one of several processes says, and not again before it is taken back."""

from __future__ import annotations

import os
import weakref


class Once:
    """Made before the fork, it is shared by all children: a pipe that holds one byte or none."""

    def __init__(self) -> None:
        self._out, self._in = os.pipe()
        for end in (self._out, self._in):
            os.set_blocking(end, False)
            weakref.finalize(self, os.close, end)
        self.allow()

    def take(self) -> bool:
        """Whether the word may be said: true for whoever asks first."""
        try:
            return bool(os.read(self._out, 1))
        except BlockingIOError:
            return False

    def allow(self) -> None:
        """Let the word be said again; only for whoever has said it."""
        os.write(self._in, b"1")
