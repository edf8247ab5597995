"""Starts and stops the programs of the demo, and prints their output."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from typing import IO, Iterator, Mapping, Sequence

from demo.keeper import ROOT, Keeper

# Ctrl-C, `kill`, and the end of the terminal.
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_END_SECONDS = 10


class DemoFailed(Exception):
    """A step of the demo failed; the text is for the user."""


class Program:
    """A Python program of this repository; its output is printed line by line."""

    def __init__(self, name: str, command: Sequence[str], keeper: Keeper, **variables: str) -> None:
        self.name = name
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._keeper = keeper
        self._process = subprocess.Popen(
            [sys.executable, *command],
            cwd=keeper.folder,
            env=_environment(variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C must reach only the demo, which stops the programs
        )
        keeper.add(self._process.pid)
        self._sink = threading.Thread(target=self._listen, args=(self._process.stdout,))
        self._sink.start()

    def expect(self, words: str, seconds: float) -> None:
        """Wait for a line that contains `words`; raise `DemoFailed` if there is none in time."""

        def is_done() -> bool:
            return self.has_ended or any(words in line for line in self.lines)

        with self._changed:
            self._changed.wait_for(is_done, seconds)
        if not any(words in line for line in self.lines):
            raise DemoFailed(f"{self.name} didn't start; see its lines above.")

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def wait(self, seconds: float) -> int:
        """Wait for the end of the program; return its exit status."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise DemoFailed(f"{self.name} didn't end in time.") from None
        self._keeper.remove(self._process.pid)
        return code

    def end(self) -> None:
        """Stop the program, with SIGKILL if necessary."""
        self._process.terminate()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._keeper.remove(self._process.pid)
        self._sink.join(_END_SECONDS)

    def _listen(self, output: IO[str] | None) -> None:
        for line in output or ():
            # The terminal or the reader of the pipe may have gone; the program must not block.
            with contextlib.suppress(OSError):
                say(f"      {self.name:>7} | {line.rstrip()}")
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()


def _environment(variables: Mapping[str, str]) -> Mapping[str, str]:
    """Return a clean environment, without variables of the user."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LANG": "C.UTF-8",
        **variables,
    }


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Delay signals that stop the demo until a started program has been noted."""
    came: list[int] = []
    before = {number: signal.signal(number, lambda n, _: came.append(n)) for number in ENDINGS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])


def say(text: str) -> None:
    """Print a line at once; lines of different threads aren't mixed."""
    print(f"{text}\n", end="", flush=True)
