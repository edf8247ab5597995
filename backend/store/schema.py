"""The tables of the store, prebuilt statements on them, and the migration of an older version."""

from __future__ import annotations

import functools
import secrets
from dataclasses import dataclass
from typing import Any, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from backend.errors import StoreUnusable

# Seconds by which the clocks of several machines may differ.
SKEW_SECONDS = 60.0

# Raise the version with every change of a table, and add the statements that migrate the version
# before.
VERSION = 1
MIGRATIONS: Mapping[int, Sequence[str]] = {}
_VERSION_KEY, SIGNING_KEY = "schema", "signing_key"
# Its value changes with every change of the hosts that the operator added, of the hosts' own
# settings, and of stored keys.
HOSTS_CHANGED = "hosts_changed"
# An arbitrary number: two replicas must not create the tables at the same time.
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
    sa.Column("desired", sa.String),  # the desired address; null: no record
    sa.Column("generation", sa.BigInteger, nullable=False),  # raised by each change of `desired`
    sa.Column("desired_at", sa.Float, nullable=False),
    sa.Column("source", sa.String, nullable=False),  # who asked for it, and
    sa.Column("protocol", sa.String, nullable=False),  # by which protocol
    sa.Column("state", sa.String, nullable=False),
    sa.Column("published", sa.String),  # what Hetzner accepted last; null: nothing
    sa.Column("action", sa.BigInteger),  # of Hetzner, which publishes it
    sa.Column("accepted_at", sa.Float),
    sa.Column("checked_at", sa.Float, nullable=False),  # when Hetzner last confirmed it
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("retry_at", sa.Float, nullable=False),  # pending or refused: not before
    sa.Column("error", sa.String, nullable=False),
    sa.Column("hint", sa.String, nullable=False, server_default=""),  # what to do about the error
    sa.Column(
        "poll_action_at", sa.Float, nullable=False, server_default="0"
    ),  # when to poll the action
    # After a failed check or write: no request asks Hetzner before then.
    sa.Column("verify_after", sa.Float, nullable=False, server_default="0"),
    sa.Column("comment", sa.String, nullable=False, server_default=""),  # at Hetzner
    sa.Column("changed_at", sa.Float),  # when Hetzner accepted another address last
    sa.Index("records_due", "state", "retry_at"),
    sa.Index("records_polls", "state", "poll_action_at"),
)

# What was reported, and isn't reported again before `until`: errors of a host until they are
# cleared (the subject is the host), failed logins and the like for some time.
reports = sa.Table(
    "reports",
    metadata,
    sa.Column("subject", sa.String, primary_key=True),
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("until", sa.Float, nullable=False),
)

# Notifications that wait for others with the same cause. Any process adds them, in the transaction
# of the event, and the leader turns them into deliveries.
pushes = sa.Table(
    "pushes",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("cause", sa.String, nullable=False),
    sa.Column("host", sa.String, nullable=False, index=True),
    sa.Column("topic", sa.String, nullable=False),
    sa.Column("is_problem", sa.Boolean, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("due", sa.Float, nullable=False),  # unless another one joins
    sa.Column("content", sa.String, nullable=False),  # for `backend.notify.reporter`
)

# The pushes that a channel hasn't accepted yet, a row for each channel.
deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("channel", sa.String, nullable=False, index=True),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("doubts", sa.Integer, nullable=False),  # attempts that may have delivered it
    sa.Column("retry_at", sa.Float, nullable=False),
    sa.Column("content", sa.String, nullable=False),
)

# The causes of which a push was sent lately.
causes = sa.Table(
    "causes",
    metadata,
    sa.Column("cause", sa.String, primary_key=True),
    sa.Column("sent_at", sa.Float, nullable=False),
    sa.Column("pause", sa.Float, nullable=False),  # seconds until its next push
)

hosts = sa.Table(
    "hosts",
    metadata,
    sa.Column("host", sa.String, primary_key=True),
    sa.Column("registered_at", sa.Float),  # null: never registered
    # The registration ends then, unless a process extends it; null: no end.
    sa.Column("unregistered_at", sa.Float),
    sa.Column("seen_at", sa.Float),  # null: never
    # Seconds of silence since then, by the monotonic clock of the watcher.
    sa.Column("silent_for", sa.Float, nullable=False, server_default="0"),
    sa.Column("heard", sa.Integer, nullable=False, server_default="0"),  # how often it was seen
    sa.Column("silent_since", sa.Float),  # when it was last seen before it was reported as lost
    sa.Column("muted_until", sa.Float),  # no notification that it is lost or back before then
    # Added by the operator while the service ran, not by REGISTERED_FQDNS.
    sa.Column("is_added", sa.Boolean, nullable=False, server_default=sa.false()),
    # Of a host that is being removed, `delete` or `keep` its records at Hetzner; null: neither.
    sa.Column("leaving", sa.String),
    sa.Column("successor", sa.String),  # of a renamed host: its new name
    # The host's own settings; null: the variable applies.
    sa.Column("lost_after", sa.Integer),
    sa.Column("ttl", sa.Integer),
    sa.Column("interface_id", sa.String),
    sa.Column("certificates", sa.Boolean),
    sa.Column("note", sa.String, nullable=False, server_default=""),
)

# Used instead of a key file if the store is a PostgreSQL database.
keys = sa.Table(
    "keys",
    metadata,
    sa.Column("host", sa.String, primary_key=True),
    sa.Column("key", sa.String, nullable=False),
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("owner", sa.String, nullable=False),
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
    sa.Column("protocol", sa.String, nullable=False),
    sa.Column("old", sa.String),
    sa.Column("new", sa.String),
    sa.Column("why", sa.String, nullable=False),
)

# Certificate challenges that are, or may be, at Hetzner.
challenges = sa.Table(
    "challenges",
    metadata,
    sa.Column("name", sa.String, primary_key=True),  # _acme-challenge.…
    sa.Column("value", sa.String, primary_key=True),
    sa.Column("host", sa.String, nullable=False),
    sa.Column("source", sa.String, nullable=False),  # who asked for it, and
    sa.Column("protocol", sa.String, nullable=False),  # by which protocol
    sa.Column("is_published", sa.Boolean, nullable=False),
    sa.Column("remove_at", sa.Float, nullable=False, index=True),  # UTC seconds
    sa.Column("attempts", sa.Integer, nullable=False),  # to remove it
)

failed_logins = sa.Table(
    "failed_logins",
    metadata,
    sa.Column("key", sa.String, primary_key=True),  # a source network or a host
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("since", sa.Float, nullable=False, index=True),  # when the window began
)


@dataclass(frozen=True)
class Entry:
    """One line of the history. `at` is UTC seconds."""

    at: float
    host: str
    type: str
    event: str
    source: str
    protocol: str
    old: str | None = None
    new: str | None = None
    why: str = ""


def run(connection: Connection, statement: Any, values: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Run a prebuilt statement within a transaction, and return the driver's cursor.

    The driver alone runs it, since SQLAlchemy takes four times as long. `values` has every column
    that the statement sets, and its parameters. The statement is compiled at its first use with
    these names.
    """
    text, fixed, order = _compiled(statement, connection.dialect, tuple(values))
    given = {**fixed, **values}
    cursor = connection.connection.cursor()
    try:
        cursor.execute(text, given if order is None else [given[name] for name in order])
    except connection.dialect.loaded_dbapi.Error as error:
        # A connection that was opened while the disk was read-only stays read-only: close it. An
        # open cursor would keep the files open, and read-only for other connections.
        cursor.close()
        if "readonly" in str(error):
            connection.invalidate(error)
        raise
    return cursor


@functools.lru_cache(maxsize=256)
def _compiled(
    statement: Any,  # noqa: ANN401
    dialect: sa.Dialect,
    names: tuple[str, ...],
) -> tuple[str, Mapping[str, Any], Sequence[str] | None]:
    compiled = statement.compile(dialect=dialect, column_keys=list(names))
    return str(compiled), compiled.params, compiled.positiontup


_ADD_ENTRY = history.insert()  # built once: building a statement takes longer than running it


def add_entry(connection: Connection, entry: Entry) -> None:
    """Add an entry in the transaction of the change that it describes."""
    run(connection, _ADD_ENTRY, vars(entry))


def migrate(
    connection: Connection,
    version: int = VERSION,
    migrations: Mapping[int, Sequence[str]] = MIGRATIONS,
) -> None:
    """Create the tables, or bring those of an older version up to date, in a new transaction.

    Raises:
        StoreUnusable: this program can't migrate the store.

    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
    else:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    found = version_of(connection)
    if found > version:
        raise StoreUnusable(
            f"STATE_URL: a newer hetzner-dyndns has written this store (version {found}, this "
            f"program knows {version})",
            hint="start the newer program, or restore a backup.",
        )
    if found == 0:
        metadata.create_all(connection)
    for step in range(found + 1, version + 1) if found else ():
        for statement in migrations[step]:
            connection.exec_driver_sql(statement)
    connection.execute(meta.delete().where(meta.c.key == _VERSION_KEY))
    connection.execute(meta.insert().values(key=_VERSION_KEY, value=str(version)))
    if meta_value(connection, SIGNING_KEY) is None:
        connection.execute(meta.insert().values(key=SIGNING_KEY, value=secrets.token_hex(32)))


def meta_value(connection: Connection, key: str) -> str | None:
    return connection.execute(sa.select(meta.c.value).where(meta.c.key == key)).scalar()


def version_of(connection: Connection) -> int:
    """Return the version of the store; 0 when it is empty.

    Raises:
        StoreUnusable: a development version from before the first release has written it.

    """
    if not sa.inspect(connection).has_table(meta.name):
        return 0
    value = meta_value(connection, _VERSION_KEY)
    if value is None:
        raise StoreUnusable(
            "STATE_URL: a version from before the first release has written this store",
            hint="move it away and start the service: the hosts' next updates fill a new one.",
        )
    return int(value)
