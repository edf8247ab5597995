"""The programs of the demonstration: started, listened to, and ended without a trace."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from typing import IO, Iterator, List, Mapping, Optional, Sequence

from demo.keeper import ROOT, Keeper

# Ctrl-C, `kill`, and a terminal that is closed.
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_END_SECONDS = 10


class DemoFailed(Exception):
    """Something didn't go as it should; the text is for the person who watches."""


class Program:
    """One Python program of this repository, whose output appears line by line."""

    def __init__(self, name: str, command: Sequence[str], keeper: Keeper, **variables: str) -> None:
        self.name = name
        self.lines: List[str] = []
        self._said = threading.Condition()
        self._keeper = keeper
        self._process = subprocess.Popen(
            [sys.executable, *command],
            cwd=keeper.folder,
            env=_environment(variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C is for the demonstration, which ends the others
        )
        keeper.note(self._process.pid)
        self._sink = threading.Thread(target=self._listen, args=(self._process.stdout,))
        self._sink.start()

    def expect(self, words: str, seconds: float) -> None:
        """Wait for a line that holds some words; raise `DemoFailed` when it doesn't come."""

        def is_said() -> bool:
            return self.has_ended or any(words in line for line in self.lines)

        with self._said:
            self._said.wait_for(is_said, seconds)
        if not any(words in line for line in self.lines):
            raise DemoFailed(f"{self.name} didn't start; see its lines above.")

    @property
    def has_ended(self) -> bool:
        """Whether the program has ended."""
        return self._process.poll() is not None

    def wait(self, seconds: float) -> int:
        """Wait for the program's end and return its exit code."""
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise DemoFailed(f"{self.name} doesn't come to an end.") from None
        self._keeper.forget(self._process.pid)
        return code

    def end(self) -> None:
        """End the program, the hard way if it must be."""
        self._process.terminate()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._keeper.forget(self._process.pid)
        self._sink.join(_END_SECONDS)

    def _listen(self, output: Optional[IO[str]]) -> None:
        for line in output or ():
            # Whoever listens in a terminal or at a pipe may have gone; the program is not to stall.
            with contextlib.suppress(OSError):
                say(f"      {self.name:>7} | {line.rstrip()}")
            with self._said:
                self.lines.append(line)
                self._said.notify_all()
        with self._said:
            self._said.notify_all()


def _environment(variables: Mapping[str, str]) -> Mapping[str, str]:
    """Return a clean environment: whatever the person has set up elsewhere stays out of it."""
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
    """Put off signals that end the demonstration: what has been started must have been noted."""
    came: List[int] = []
    before = {number: signal.signal(number, lambda n, _: came.append(n)) for number in ENDINGS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])


def say(text: str) -> None:
    """Tell the person who watches, at once."""
    print(text, flush=True)
