"""Keeps the demonstration's folder and knows its programs, and is left to end both with it.

A demonstration that is killed can't clean up any more. But the pipe to this process, which lives
in a session of its own, is closed by the system, whatever has happened.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Collection, Set

ROOT = Path(__file__).resolve().parent.parent
_END_SECONDS = 10
_POLL_SECONDS = 0.05


class Keeper:
    """The demonstration's side of it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-B", "-m", "demo.keeper"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            start_new_session=True,
        )
        said, self._told = self._process.stdout, self._process.stdin
        folder = (said.readline() if said else "").rstrip("\n")
        if not folder:
            raise OSError("no temporary folder can be made: name another place by TMPDIR")
        self.folder = Path(folder)

    def note(self, pid: int) -> None:
        """Let it end this program, which leads a process group of its own."""
        self._tell(f"+{pid}")

    def forget(self, pid: int) -> None:
        """Let it know that this program has ended: its number may come to be another's."""
        self._tell(f"-{pid}")

    def dismiss(self) -> None:
        """Have the folder removed, and what is still noted ended."""
        self._process.communicate()

    def _tell(self, line: str) -> None:
        if self._told:
            print(line, file=self._told, flush=True)


def _end(groups: Collection[int]) -> None:
    """End process groups: their leaders are asked to, what is left after some time is killed."""
    for group in groups:
        with contextlib.suppress(OSError):
            os.kill(group, signal.SIGTERM)
    deadline = time.monotonic() + _END_SECONDS
    while any(map(_lives, groups)) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    for group in filter(_lives, groups):
        with contextlib.suppress(OSError):
            os.killpg(group, signal.SIGKILL)


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except OSError:
        return False
    return True


def _read(told: IO[str]) -> Set[int]:
    """Read to the end which programs are running then."""
    running: Set[int] = set()
    for line in told:
        (running.add if line[0] == "+" else running.discard)(int(line[1:]))
    return running


def main() -> None:
    """Wait for the demonstration's end, and leave nothing of it."""
    with tempfile.TemporaryDirectory(prefix="hetzner-dyndns-demo-") as folder:
        print(folder, flush=True)
        _end(_read(sys.stdin))


if __name__ == "__main__":
    main()
