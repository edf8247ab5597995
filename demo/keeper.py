"""A helper process that cleans up after the demo, also if the demo is killed.

It owns the temporary folder and knows the programs of the demo. It runs in a separate session and
reads a pipe from the demo. The system closes the pipe when the demo ends, whatever the reason; the
helper then stops the programs and deletes the folder.
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
from typing import IO, Collection

ROOT = Path(__file__).resolve().parent.parent
_END_SECONDS = 10
_POLL_SECONDS = 0.05


class Keeper:
    """Starts the helper process and sends it the process ids."""

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
        output, self._input = self._process.stdout, self._process.stdin
        folder = (output.readline() if output else "").rstrip("\n")
        if not folder:
            raise OSError("can't create a temporary folder: set TMPDIR to another place")
        self.folder = Path(folder)

    def add(self, pid: int) -> None:
        """Add a program, which must lead its own process group."""
        self._send(f"+{pid}")

    def remove(self, pid: int) -> None:
        """Remove a program that has ended, because its process id may be reused."""
        self._send(f"-{pid}")

    def finish(self) -> None:
        """Stop the remaining programs, delete the folder, and wait for it."""
        self._process.communicate()

    def _send(self, line: str) -> None:
        if self._input:
            print(line, file=self._input, flush=True)


def _end(groups: Collection[int]) -> None:
    """Stop process groups: SIGTERM to the leaders, after some time SIGKILL to what is left."""
    for group in groups:
        with contextlib.suppress(OSError):
            os.kill(group, signal.SIGTERM)
    deadline = time.monotonic() + _END_SECONDS
    while any(map(_is_alive, groups)) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    for group in filter(_is_alive, groups):
        with contextlib.suppress(OSError):
            os.killpg(group, signal.SIGKILL)


def _is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except OSError:
        return False
    return True


def _read(pipe: IO[str]) -> set[int]:
    """Read the pipe to its end; return the programs that still run."""
    running: set[int] = set()
    for line in pipe:
        (running.add if line[0] == "+" else running.discard)(int(line[1:]))
    return running


def main() -> None:
    """Wait for the end of the demo, then clean up."""
    with tempfile.TemporaryDirectory(prefix="hetzner-dyndns-demo-") as folder:
        print(folder, flush=True)
        _end(_read(sys.stdin))


if __name__ == "__main__":
    main()
