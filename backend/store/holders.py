"""Who holds a lease: a name that other processes of the same machine can find dead."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def new_holder() -> str:
    """Return a name for this process, or for one piece of its work; no two are alike."""
    return f"{_place()} {os.getpid()} {uuid.uuid4().hex}"


def is_dead(holder: str) -> bool:
    """Whether the process of a holder is known to be gone; one elsewhere never is."""
    place, _, rest = holder.partition(" ")
    pid = rest.partition(" ")[0]
    if place != _place() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _place() -> str:
    """Where a process id means the same process: one boot of one machine, one PID namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return uuid.uuid4().hex  # nobody can tell, so nobody is found dead
    return f"{boot}/{namespace}"


def whereabouts(holder: str) -> str:
    """Say in words for the operator where a holder is."""
    place, _, rest = holder.partition(" ")
    pid = rest.partition(" ")[0]
    where = "on this machine" if place == _place() else "on another machine, or in a container"
    return f"process {pid} {where}" if pid.isdigit() else "an unknown process"
