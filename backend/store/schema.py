"""The tables of the store, and an entry of its history."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Optional

import sqlalchemy as sa
from sqlalchemy.engine import Connection

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


@dataclass(frozen=True)
class Entry:
    """One line of the history. `at` is UTC seconds."""

    at: float
    host: str
    type: str
    event: str
    source: str
    face: str
    old: Optional[str]
    new: Optional[str]
    why: str


def add_entry(connection: Connection, entry: Entry) -> None:
    """Add an entry in the transaction of the change it tells of, so that they can't disagree."""
    connection.execute(history.insert().values(**asdict(entry)))
