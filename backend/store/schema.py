"""The shape of the store: its tables, its version, and how an older file becomes a newer one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from backend.errors import StoreUnusable
from backend.store import engines
from backend.store.engines import reason, require_escaped

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

metadata = sa.MetaData()

meta = sa.Table(
    "meta",
    metadata,
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("value", sa.String, nullable=False),
)

# All times are UTC, in seconds since 1970.
records = sa.Table(
    "records",
    metadata,
    sa.Column("host", sa.String, primary_key=True),
    sa.Column("type", sa.String, primary_key=True),
    sa.Column("wanted", sa.String),  # the address the host wants; null: no record
    sa.Column("wish", sa.BigInteger, nullable=False),  # counts wishes: tells a late answer
    sa.Column("wished_at", sa.Float, nullable=False),
    sa.Column("source", sa.String, nullable=False),  # who sent the wish, and
    sa.Column("face", sa.String, nullable=False),  # by which protocol
    sa.Column("state", sa.String, nullable=False),
    sa.Column("published", sa.String),  # what Hetzner accepted last; null: nothing
    sa.Column("action", sa.BigInteger),  # Hetzner's action that publishes it
    sa.Column("accepted_at", sa.Float),
    sa.Column("checked_at", sa.Float, nullable=False),  # when Hetzner last confirmed it
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("next_try_at", sa.Float, nullable=False),  # pending, refused: not before
    sa.Column("error", sa.String, nullable=False),
    sa.Column("mend", sa.String, nullable=False, server_default=""),  # what to do about the error
    sa.Column("look_at", sa.Float, nullable=False, server_default="0"),  # at the action
    sa.Column("recheck_at", sa.Float, nullable=False, server_default="0"),  # after a failed check
    sa.Column("comment", sa.String, nullable=False, server_default=""),  # somebody's, at Hetzner
    sa.Column("changed_at", sa.Float),  # when Hetzner accepted another address last
    sa.Index("records_due", "state", "next_try_at"),
    sa.Index("records_looks", "state", "look_at"),
)

# What the operator was told of a record since it was well: each cause once.
troubles = sa.Table(
    "troubles",
    metadata,
    sa.Column("host", sa.String, primary_key=True),
    sa.Column("type", sa.String, primary_key=True),
    sa.Column("cause", sa.String, primary_key=True),
)

hosts = sa.Table(
    "hosts",
    metadata,
    sa.Column("host", sa.String, primary_key=True),
    sa.Column("registered_at", sa.Float),  # null: never registered
    # The end of its registration, unless a process that serves it extends that; null: no end.
    sa.Column("unregistered_at", sa.Float),
    sa.Column("seen_at", sa.Float),  # null: never
    # Seconds of silence since then, counted by the watcher's monotonic clock.
    sa.Column("silent_for", sa.Float, nullable=False, server_default="0"),
    sa.Column("heard", sa.Integer, nullable=False, server_default="0"),  # the number of sightings
    sa.Column("silent_since", sa.Float),  # when it was heard of before it was reported lost
    sa.Column("muted_until", sa.Float),  # the operator doesn't want to hear that it is lost
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("holder", sa.String, nullable=False),
    sa.Column("until", sa.Float, nullable=False),
)

history = sa.Table(
    "history",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("at", sa.Float, nullable=False, index=True),
    sa.Column("host", sa.String, nullable=False, index=True),
    sa.Column("type", sa.String, nullable=False),
    sa.Column("event", sa.String, nullable=False),
    sa.Column("source", sa.String, nullable=False),
    sa.Column("face", sa.String, nullable=False),
    sa.Column("old", sa.String),
    sa.Column("new", sa.String),
    sa.Column("why", sa.String, nullable=False),
)

failed_logins = sa.Table(
    "failed_logins",
    metadata,
    sa.Column("key", sa.String, primary_key=True),  # a source network or a host
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("since", sa.Float, nullable=False, index=True),  # when the window began
)


def connect(url: str, pool_size: int, *, create: bool = True) -> Engine:
    """Return an engine for the store at an SQLAlchemy URL; nothing is opened yet.

    Without `create`, an SQLite file has to exist when it is opened.

    Raises:
        StoreUnusable: the URL can't be used.

    """
    require_escaped(url)
    try:
        parsed = make_url(url)
        options = _options(parsed)
        is_sqlite = parsed.get_backend_name() == "sqlite"
        engine = sa.create_engine(
            engines.existing_only(parsed) if is_sqlite and not create else parsed,
            pool_size=pool_size,
            pool_use_lifo=True,  # few connections with warm caches rather than all in turn
            pool_timeout=2,
            **options,
        )
    except (SQLAlchemyError, ImportError, ValueError) as error:
        raise StoreUnusable(
            f"STATE_URL can't be used ({type(error).__name__})",
            mend="write it as in sqlite:////data/hetzner-dyndns.db or "
            "postgresql+psycopg://user:password@host/name, and install "
            "backend/requirements-postgresql.txt for the latter.",
        ) from None
    if is_sqlite:
        engines.tune_sqlite(engine, Path(str(parsed.database)))
    else:
        engines.tune_postgresql(engine)
    return engine


def _options(url: sa.URL) -> Mapping[str, Any]:
    backend = url.get_backend_name()
    if backend not in _OPTIONS or url.get_driver_name() not in ("pysqlite", "psycopg"):
        raise ArgumentError(backend)
    if backend == "sqlite" and url.database in (None, "", ":memory:"):
        raise ArgumentError("memory")  # the worker processes could not share it
    return _OPTIONS[backend]


_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "sqlite": engines.SQLITE_OPTIONS,
    "postgresql": engines.POSTGRESQL_OPTIONS,
}


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
