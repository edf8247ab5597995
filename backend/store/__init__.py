"""Everything the service stores, shared by all processes and machines."""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Tuple

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from backend.errors import StoreUnusable
from backend.store.database import Database, connect, reason
from backend.store.history import History
from backend.store.hosts import FailedLoginCounts, HostActivity, Hosts, Watch
from backend.store.leases import Leases
from backend.store.operations import Operations
from backend.store.projects import Projects
from backend.store.record import Record, State
from backend.store.records import (
    Accepted,
    ChangeNote,
    Delayed,
    Failed,
    Notice,
    Records,
    Result,
)
from backend.store.schema import VERSION, migrate, records, version_of

__all__ = [
    "Accepted",
    "ChangeNote",
    "Delayed",
    "Failed",
    "HostActivity",
    "Notice",
    "Record",
    "Result",
    "State",
    "Store",
    "describe_store",
    "prepare_store",
    "require_store",
]


def prepare_store(url: str) -> None:
    """Create the store, or bring an older one up to date, in one transaction.

    Raises:
        StoreUnusable: the store can't be opened, or can't be brought up to date.

    """
    engine = connect(url, pool_size=1)
    try:
        with engine.execution_options(write=True).begin() as connection:
            migrate(connection)
    except SQLAlchemyError as error:
        raise StoreUnusable(
            f"STATE_URL: the store can't be opened ({reason(error, engine.url)})",
            hint="check that the folder or the database exists, that this user may write there, "
            "and that there is room.",
        ) from None
    finally:
        engine.dispose()


def describe_store(url: str) -> Tuple[str, Optional[Path]]:
    """Return the kind of database, and its file if it is one; raise `StoreUnusable` if neither."""
    engine = connect(url, pool_size=1)
    is_file = engine.dialect.name == "sqlite"
    return engine.dialect.name, Path(engine.url.database or "") if is_file else None


def require_store(url: str) -> None:
    """Make sure that the store exists in this version, and change nothing.

    Raises:
        StoreUnusable: it doesn't, or it can't be opened.

    """
    _, file = describe_store(url)
    if file is not None:
        _require_file(file)
    engine = connect(url, pool_size=1)
    try:
        with engine.connect() as connection:
            found = version_of(connection)
    except SQLAlchemyError as error:
        raise StoreUnusable(
            f"STATE_URL: the store can't be opened ({reason(error, engine.url)})",
            hint="check that the database answers, and that this user may read and write it.",
        ) from None
    finally:
        engine.dispose()
    if found != VERSION:
        raise StoreUnusable(
            f"STATE_URL: the store has version {found}, this program needs {VERSION}",
            hint="start the service once, which brings an older one up to date.",
        )


def _require_file(file: Path) -> None:
    try:
        file.stat()
    except FileNotFoundError:
        raise StoreUnusable(
            f"STATE_URL: there is no store at {file} yet", hint="start the service once."
        ) from None
    except OSError:
        return  # as where this user may not look: opening it says what is wrong


class Store:
    """All tables behind one connection pool. Opens nothing before it is used."""

    def __init__(self, url: str, pool_size: int = 5) -> None:
        self._database = Database(connect(url, pool_size, create=False))
        self.hosts = Hosts(self._database)
        self.watch = Watch(self._database)
        self.leases = Leases(self._database)
        self.records = Records(self._database, self.leases)
        self.history = History(self._database)
        self.failed_logins = FailedLoginCounts(self._database)
        self.projects = Projects(self._database)
        self.operations = Operations(self._database, self.leases)

    def ping(self) -> None:
        """Make sure that records can be read; raise `StoreUnavailable` otherwise."""
        with self._database.read() as connection:
            connection.execute(sa.select(records).limit(1)).all()

    def close(self) -> None:
        """Close every connection."""
        self._database.close()
