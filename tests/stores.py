"""A store that is prepared once for all tests of a process."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from backend.store import prepare_store

_FOLDER = tempfile.TemporaryDirectory(prefix="hetzner-dyndns-tests-")


@functools.lru_cache(maxsize=None)
def empty_store() -> Path:
    """Return the file of an SQLite store with all its tables, to be copied."""
    path = Path(_FOLDER.name) / "store.db"
    prepare_store(f"sqlite:///{path}")
    return path
