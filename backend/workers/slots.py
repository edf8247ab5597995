"""A folder that the workers of one service share, and a number for each of them.

What a worker leaves there outlives it: its successor takes the number of one that died, and goes on
with its files, so that there are never more of them than workers at a time.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import IO, Dict, Optional, Tuple

# Anybody may write there, but `mkdtemp` makes a folder that only we may look into.
_MEMORY = "/dev/shm"  # noqa: S108
_PREFIX = "hetzner-dyndns-"
_OWNED = "owned"


class Slots:
    """The numbers of all workers. Each process takes one when it first asks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._owned: Optional[IO[bytes]] = None
        self._held: Optional[IO[bytes]] = None
        self._number = 0
        self._owner = 0

    @classmethod
    def open(cls) -> Slots:
        """Make the folder: in memory where that is possible, for its files are written often.

        Folders of services that were killed are swept away.
        """
        where = Path(_MEMORY if os.access(_MEMORY, os.W_OK) else tempfile.gettempdir())
        for other in where.glob(f"{_PREFIX}*/{_OWNED}"):
            _sweep(other)
        slots = cls(Path(tempfile.mkdtemp(prefix=_PREFIX, dir=where)))
        slots._own()
        return slots

    def _own(self) -> None:
        """Hold a lock that our workers inherit: the folder is in use until the last one ends."""
        new = self.folder / f"{_OWNED}.new"
        self._owned = new.open("wb")
        fcntl.flock(self._owned, fcntl.LOCK_EX)
        new.rename(self.folder / _OWNED)

    def close(self) -> None:
        """Give this process's number back."""
        if self._held is not None:
            self._held.close()
        self._held, self._owner = None, 0

    def remove(self) -> None:
        """Remove the folder with everything in it."""
        self.close()
        if self._owned is not None:
            self._owned.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def mine(self) -> int:
        """Return the number of this process, which it keeps until it ends, however it ends."""
        if self._owner != os.getpid():
            self._number, self._held = self._take()
            self._owner = os.getpid()
        return self._number

    def note(self, text: str) -> None:
        """Leave a note for the others, instead of the one before."""
        note = self._note(self.mine())
        new = note.with_suffix(".new")
        new.write_text(text, encoding="utf-8")
        new.replace(note)

    def notes(self) -> Dict[int, str]:
        """Return the notes of all processes that are alive and have left one."""
        numbers = [int(file.stem) for file in self.folder.glob("*.slot")]
        found = {}
        for number in filter(self._is_taken, numbers):
            with contextlib.suppress(FileNotFoundError):  # none yet, or its successor took it away
                found[number] = self._note(number).read_text(encoding="utf-8")
        return found

    def _note(self, number: int) -> Path:
        return self.folder / f"{number}.note"

    def _is_taken(self, number: int) -> bool:
        if number == self.mine():
            return True
        with (self.folder / f"{number}.slot").open("rb") as file:
            return not _lock(file, fcntl.LOCK_SH)

    def _take(self) -> Tuple[int, IO[bytes]]:
        number = 0
        while True:
            file = (self.folder / f"{number}.slot").open("ab")
            if _lock(file, fcntl.LOCK_EX):
                with contextlib.suppress(FileNotFoundError):
                    self._note(number).unlink()  # of the one that died
                return number, file
            file.close()
            number += 1


def _sweep(owned: Path) -> None:
    with contextlib.suppress(OSError), owned.open("rb") as file:  # it may be another user's
        if _lock(file, fcntl.LOCK_EX):
            shutil.rmtree(owned.parent, ignore_errors=True)


def _lock(file: IO[bytes], kind: int) -> bool:
    """Lock a file if nobody stands in the way; the lock ends with the process."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
