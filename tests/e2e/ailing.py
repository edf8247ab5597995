"""`python -m backend` with an unhealthy worker, whose process id is in a file."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from backend import cli
from backend.server.loops import Loop

ID_FILE = "unhealthy-worker"

_problem = Loop.problem


def problem(self: Loop, patience: float) -> str:
    file = Path(ID_FILE)
    is_unhealthy = file.exists() and file.read_text(encoding="utf-8") == str(os.getpid())
    return "reconciler hangs" if is_unhealthy else _problem(self, patience)


if __name__ == "__main__":
    Loop.problem = problem  # type: ignore[method-assign]
    sys.exit(cli.run(sys.argv[1:], os.environ))
