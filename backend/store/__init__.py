"""What is remembered, shared by every process and machine: a room for each kind of thing."""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Tuple

from backend.store.database import Database
from backend.store.engines import connect
from backend.store.history import History
from backend.store.hosts import FailedLoginCounts, Hosts, Sighting, Watch
from backend.store.leases import Leases
from backend.store.migrations import prepare, require
from backend.store.operations import Operations
from backend.store.projects import Projects
from backend.store.record import Novelty, Record, State
from backend.store.records import News, Records, Verifications

__all__ = [
    "News",
    "Novelty",
    "Record",
    "Sighting",
    "State",
    "Store",
    "describe_store",
    "prepare_store",
    "require_store",
]


def prepare_store(url: str) -> None:
    """Create the store, or bring an older one up to date; raise `StoreUnusable` if that fails."""
    engine = connect(url, pool_size=1)
    prepare(engine)
    engine.dispose()


def describe_store(url: str) -> Tuple[str, Optional[Path]]:
    """Return the kind of database, and its file if it is one; raise `StoreUnusable` if neither."""
    engine = connect(url, pool_size=1)
    is_file = engine.dialect.name == "sqlite"
    return engine.dialect.name, Path(engine.url.database or "") if is_file else None


def require_store(url: str) -> None:
    """Make sure of a store that `prepare_store` would leave alone; else raise `StoreUnusable`."""
    engine = connect(url, pool_size=1)
    try:
        require(engine)
    finally:
        engine.dispose()


class Store:
    """The memory of the service. Opens nothing before it is used."""

    def __init__(self, url: str, pool_size: int = 5) -> None:
        self._database = Database(connect(url, pool_size, create=False))
        self.records = Records(self._database)
        self.verifications = Verifications(self._database)
        self.hosts = Hosts(self._database)
        self.watch = Watch(self._database)
        self.leases = Leases(self._database)
        self.history = History(self._database)
        self.failed_logins = FailedLoginCounts(self._database)
        self.projects = Projects(self._database)
        self.operations = Operations(self._database)
        self.ping = self._database.ping
        self.close = self._database.close
