"""`python -m backend` with an unhealthy worker, whose process id is in a file."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from backend import cli
from backend.server.loops import Loop

WHO = "ill"

_problem = Loop.problem


def problem(self: Loop, patience: float) -> str:
    who = Path(WHO)
    is_ill = who.exists() and who.read_text(encoding="utf-8") == str(os.getpid())
    return "reconciler hangs" if is_ill else _problem(self, patience)


if __name__ == "__main__":
    Loop.problem = problem  # type: ignore[method-assign]
    sys.exit(cli.run(sys.argv[1:], os.environ))
