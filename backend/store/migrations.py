"""How a store is created, and how an older one becomes a newer one."""

from __future__ import annotations

from pathlib import Path
from typing import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from backend.errors import StoreUnusable
from backend.store.engines import reason
from backend.store.schema import meta, metadata

# Raise it with every change of a table, and say in MIGRATIONS how to get there.
VERSION = 4
MIGRATIONS: Mapping[int, Sequence[str]] = {
    2: (
        "ALTER TABLE records ADD COLUMN look_at FLOAT DEFAULT '0' NOT NULL",
        "ALTER TABLE records ADD COLUMN recheck_at FLOAT DEFAULT '0' NOT NULL",
        "ALTER TABLE records ADD COLUMN changed_at FLOAT",
        "ALTER TABLE records ADD COLUMN comment VARCHAR DEFAULT '' NOT NULL",
        "UPDATE records SET look_at = next_try_at WHERE state = 'publishing'",
        "UPDATE records SET changed_at = accepted_at",
        "CREATE INDEX records_looks ON records (state, look_at)",
        "ALTER TABLE hosts ADD COLUMN muted_until FLOAT",
        """CREATE TABLE failed_logins (
            key VARCHAR NOT NULL PRIMARY KEY, number INTEGER NOT NULL, since FLOAT NOT NULL
        )""",
        "CREATE INDEX ix_failed_logins_since ON failed_logins (since)",
        """CREATE TABLE troubles (host VARCHAR NOT NULL, type VARCHAR NOT NULL,
            cause VARCHAR NOT NULL, PRIMARY KEY (host, type, cause))""",
        "INSERT INTO troubles SELECT host, type, error FROM records WHERE error <> ''",
        """CREATE TABLE projects (project INTEGER NOT NULL, error VARCHAR NOT NULL,
            at FLOAT NOT NULL, PRIMARY KEY (project))""",
        """CREATE TABLE zones (name VARCHAR NOT NULL, project INTEGER NOT NULL,
            mode VARCHAR NOT NULL, delegation VARCHAR NOT NULL, PRIMARY KEY (name))""",
        """CREATE TABLE quotas (project INTEGER NOT NULL, calls INTEGER NOT NULL,
            remaining INTEGER NOT NULL, at FLOAT NOT NULL, PRIMARY KEY (project, calls))""",
    ),
    3: ("ALTER TABLE records ADD COLUMN mend VARCHAR DEFAULT '' NOT NULL",),
    4: (
        "ALTER TABLE hosts ADD COLUMN unregistered_at FLOAT",
        "UPDATE hosts SET unregistered_at = 0 WHERE registered_at IS NULL",
        "ALTER TABLE hosts RENAME COLUMN excused TO silent_for",
        "UPDATE hosts SET silent_for = 0",
        "ALTER TABLE hosts ADD COLUMN heard INTEGER DEFAULT '0' NOT NULL",
    ),
}

# Any number will do; it keeps two replicas from creating the tables at the same time.
_ADVISORY_LOCK = 7_041_982


def prepare(
    engine: Engine,
    version: int = VERSION,
    migrations: Mapping[int, Sequence[str]] = MIGRATIONS,
) -> None:
    """Create the tables, or bring those of an older version up to date, in one transaction.

    Raises:
        StoreUnusable: the store can't be opened, or a newer program has written it.

    """
    try:
        with engine.execution_options(write=True).begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
            _bring_to(version, migrations, connection)
    except SQLAlchemyError as error:
        raise StoreUnusable(
            f"STATE_URL: the store can't be opened ({reason(error, engine.url)})",
            mend="check that the folder or the database exists, that this user may write there, "
            "and that there is room.",
        ) from None


def _bring_to(
    version: int, migrations: Mapping[int, Sequence[str]], connection: Connection
) -> None:
    found = version_of(connection)
    if found > version:
        raise StoreUnusable(
            f"STATE_URL: a newer hetzner-dyndns has written this store (version {found}, this "
            f"program knows {version})",
            mend="start the newer program, or restore a backup.",
        )
    if found == 0:
        metadata.create_all(connection)
    for step in range(found + 1, version + 1) if found else ():
        for statement in migrations[step]:
            connection.exec_driver_sql(statement)
    connection.execute(meta.delete().where(meta.c.key == "version"))
    connection.execute(meta.insert().values(key="version", value=str(version)))


def version_of(connection: Connection) -> int:
    """Return the version the store has; 0 when it is empty."""
    if not sa.inspect(connection).has_table(meta.name):
        return 0
    value = connection.execute(sa.select(meta.c.value).where(meta.c.key == "version")).scalar()
    return int(value or 0)


def require(engine: Engine) -> None:
    """Make sure that the store exists in this version, and change nothing.

    Raises:
        StoreUnusable: it doesn't, or it can't be opened.

    """
    if engine.dialect.name == "sqlite":
        _require_file(Path(engine.url.database or ""))
    try:
        with engine.connect() as connection:
            found = version_of(connection)
    except SQLAlchemyError as error:
        raise StoreUnusable(
            f"STATE_URL: the store can't be opened ({reason(error, engine.url)})",
            mend="check that the database answers, and that this user may read and write it.",
        ) from None
    if found != VERSION:
        raise StoreUnusable(
            f"STATE_URL: the store has version {found}, this program needs {VERSION}",
            mend="start the service once, which brings an older one up to date.",
        )


def _require_file(file: Path) -> None:
    try:
        file.stat()
    except FileNotFoundError:
        raise StoreUnusable(
            f"STATE_URL: there is no store at {file} yet", mend="start the service once."
        ) from None
    except OSError:
        return  # as where this user may not look: opening it says what is wrong
