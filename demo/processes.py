"""The programs of the demonstration: started, listened to, and ended without a trace."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, List, Mapping, Optional, Sequence

ROOT = Path(__file__).resolve().parent.parent
_END_SECONDS = 10


class DemoFailed(Exception):
    """Something didn't go as it should; the text is for the person who watches."""


class Program:
    """One Python program of this repository, whose output appears line by line."""

    def __init__(self, name: str, command: Sequence[str], folder: Path, **variables: str) -> None:
        self.name = name
        self.lines: List[str] = []
        self._said = threading.Condition()
        self._process = subprocess.Popen(
            [sys.executable, *command],
            cwd=folder,
            env=_environment(variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C is for the demonstration, which ends the others
        )
        self._listener = threading.Thread(target=self._listen, args=(self._process.stdout,))
        self._listener.start()

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
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise DemoFailed(f"{self.name} doesn't come to an end.") from None

    def end(self) -> None:
        """End the program, the hard way if it must be."""
        self._process.terminate()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join(_END_SECONDS)

    def _listen(self, output: Optional[IO[str]]) -> None:
        for line in output or ():
            print(f"      {self.name:>7} | {line.rstrip()}", flush=True)
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


def say(text: str) -> None:
    """Begin a new step of the demonstration."""
    print(f"\n{text}", flush=True)
