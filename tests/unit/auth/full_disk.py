"""A limit on the size of files, as a substitute for a full disk that needs no root."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def output_of(call: str, path: Path, room: int) -> str:
    """Call a method of a key file in a process whose files have at most `room` bytes."""
    script = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from backend.auth.keys import KeyFile\n"
        "from backend.errors import KeyFileUnusable\n"
        "from backend.model import Hostname\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))\n"
        "try:\n"
        f"    KeyFile(Path(sys.argv[1])).{call}\n"
        "except KeyFileUnusable as error:\n"
        "    print(error)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    return ran.stdout
