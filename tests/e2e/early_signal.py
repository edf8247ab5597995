"""Runs the backend. The first worker gets SIGTERM before it has installed its handlers."""

from __future__ import annotations

import os
import signal
import sys

from backend.cli import run

_forks: list[int] = []


def _terminate_first() -> None:
    if not _forks:
        print(f"first worker: {os.getpid()}", flush=True)  # noqa: T201
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    os.register_at_fork(after_in_child=_terminate_first, after_in_parent=lambda: _forks.append(1))
    sys.exit(run(sys.argv[1:], os.environ))
