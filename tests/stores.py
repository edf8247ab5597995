"""Fast stores: one is prepared for all tests of a process, and none is synced to the disk."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

from backend.store import database, prepare_store

flushing_set_up = database._set_up  # noqa: SLF001
_FOLDER = tempfile.TemporaryDirectory(prefix="hetzner-dyndns-tests-")


@functools.lru_cache(maxsize=None)
def empty_store() -> Path:
    """Return the file of an SQLite store with all its tables, to be copied."""
    path = Path(_FOLDER.name) / "store.db"
    prepare_store(f"sqlite:///{path}")
    return path


def set_up_without_flushing(connection: Any, file: Path) -> object:  # noqa: ANN401
    """Set up a connection whose commits don't wait for the disk: no test cuts the power."""
    identity = flushing_set_up(connection, file)
    connection.execute("PRAGMA synchronous = OFF").close()
    return identity
