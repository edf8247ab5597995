"""Memory that the workers of one service share, with a slot for each of them.

The first process maps it before it forks. It belongs to no file: no disk can be full beneath it, no
other user can reach it, and the kernel frees it when the last process ends, however that ends.
"""

from __future__ import annotations

import mmap
from typing import Dict, Iterable, List, Tuple

_DOUBLE = 8
_NOTE = 256  # bytes of a note's text, a multiple of _DOUBLE


class Slots:
    """A slot for each worker: its figures, and a note for the others.

    Only the worker that holds a slot writes to it. A double is written at once, so that a worker
    that is killed leaves no broken figure; its successor goes on with the figures.
    """

    def __init__(self, count: int = 1, figures: int = 0) -> None:
        self._count = count
        self._size = (1 + figures) * _DOUBLE + _NOTE
        self._memory = memoryview(mmap.mmap(-1, count * self._size))
        self.number = 0

    def take(self, taken: Iterable[int]) -> int:
        """Choose the slot of the process that is forked next: the first that isn't taken.

        When all are taken, the last one is shared: a few counts may be lost then.
        """
        free = set(range(self._count)) - set(taken)
        self.number = min(free, default=self._count - 1)
        self.clear(self.number)
        return self.number

    @property
    def figures(self) -> memoryview[float]:
        """The figures of this process, as doubles that can be written."""
        return self._figures(self.number)

    def totals(self) -> List[float]:
        """Return the sum of each figure over all slots, also those of workers that have ended."""
        rows = (self._figures(number).tolist() for number in range(self._count))
        return [sum(column) for column in zip(*rows)]

    def note(self, at: float, text: str) -> None:
        """Leave a note for the others, instead of the one before; `at` is above zero."""
        self._text(self.number)[:] = text.encode()[:_NOTE].ljust(_NOTE, b"\0")
        self._time(self.number)[0] = at

    def notes(self) -> Dict[int, Tuple[float, str]]:
        """Return when each worker has left its note, and the note; none of those that have ended.

        A text may be read while it is written, and then be cut off.
        """
        found: Dict[int, Tuple[float, str]] = {}
        for number in range(self._count):
            at = self._time(number)[0]
            if at:
                text = bytes(self._text(number)).partition(b"\0")[0].decode(errors="ignore")
                found[number] = (at, text)
        return found

    def clear(self, number: int) -> None:
        """Take the note of a worker away that has ended."""
        self._time(number)[0] = 0.0

    def _part(self, number: int, start: int, end: int) -> memoryview:
        return self._memory[number * self._size + start : number * self._size + end]

    def _time(self, number: int) -> memoryview[float]:
        return self._part(number, 0, _DOUBLE).cast("d")

    def _figures(self, number: int) -> memoryview[float]:
        return self._part(number, _DOUBLE, self._size - _NOTE).cast("d")

    def _text(self, number: int) -> memoryview:
        return self._part(number, self._size - _NOTE, self._size)
