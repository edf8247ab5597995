"""A limit on the size of files: the one full disk that a test can have without being root."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def told_by(call: str, path: Path, room: int) -> str:
    """What a call of a key file's says in a process whose files hold so many bytes at most."""
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
