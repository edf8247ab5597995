"""The certificate challenges that are, or may be, at Hetzner, until they are removed there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Sequence

import sqlalchemy as sa

from backend.errors import BadChallenge
from backend.model import Hostname, Requester
from backend.store.database import Database, excluded
from backend.store.hosts import is_past
from backend.store.schema import Entry, add_entry, challenges, reports

CHALLENGE_LABEL = "_acme-challenge."
# The unpadded base64url of a SHA-256 (RFC 8555 §8.4).
_VALUE = re.compile(r"[A-Za-z0-9_-]{43}")
# A certificate for a host and its wildcard needs two values at a time, and clients that never clean
# up leave each of theirs for an hour.
MOST_VALUES = 10


@dataclass(frozen=True)
class Challenge:
    """A text in DNS that proves to a certificate authority who controls a host (RFC 8555 §8.4)."""

    host: Hostname
    value: str
    requester: Requester

    def __post_init__(self) -> None:
        if not _VALUE.fullmatch(self.value):
            raise BadChallenge(
                "Not the value of a certificate challenge: it has 43 letters, digits, - and _."
            )

    @property
    def name(self) -> Hostname:
        """The only name at which the host may set texts; a wildcard has that of its parent."""
        parent = self.host.text[2:] if self.host.is_wildcard else self.host.text
        return Hostname(CHALLENGE_LABEL + parent)


@dataclass(frozen=True)
class StoredChallenge:
    """A challenge, and when it is to be removed (UTC seconds)."""

    challenge: Challenge
    is_published: bool
    remove_at: float
    attempts: int


class Challenges:
    """The challenges. Times are UTC seconds; every method raises `StoreUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, challenge: Challenge, now: float, remove_at: float) -> bool:
        """Store a challenge before Hetzner is asked; return whether it is published already.

        If the host has more than `MOST_VALUES` values, the oldest published ones are removed.

        Raises:
            BadChallenge: another host has set the value. A host and a wildcard share a name.

        """
        key = {"name": challenge.name.text, "value": challenge.value}
        row = {
            "host": challenge.host.text,
            "source": challenge.requester.source,
            "protocol": challenge.requester.protocol,
            "remove_at": remove_at,
            "attempts": 0,
        }
        upsert = self._database.upsert(challenges, {n: excluded(challenges)[n] for n in row})
        c = challenges.c
        is_published = sa.select(c.is_published).where(_is(challenge))
        same = sa.select(c.host).where(c.name == key["name"], c.value == challenge.value)
        is_mine = sa.and_(c.name == key["name"], c.host == row["host"])
        is_other = sa.and_(is_mine, c.value != challenge.value, c.remove_at > now)
        # A challenge whose request still waits ends soon, but is newer than published ones.
        kept = sa.select(c.value).where(is_other).order_by(c.is_published, c.remove_at.desc())
        with self._database.write() as connection:
            if connection.execute(same).scalar() not in (None, row["host"]):
                raise BadChallenge("Another host has set this value.")
            connection.execute(upsert, {**key, **row, "is_published": False})
            values = connection.execute(kept.limit(MOST_VALUES - 1)).scalars().all()
            beyond = challenges.update().where(is_other, c.value.not_in(values))
            connection.execute(beyond.values(remove_at=now))
            return bool(connection.execute(is_published).scalar())

    def is_current(self, challenge: Challenge, added: float) -> bool:
        """Return whether a challenge was neither set again nor removed since `add`.

        `added` is what `add` got as `remove_at`.
        """
        this = sa.and_(_is(challenge), challenges.c.remove_at == added)
        with self._database.read() as connection:
            return connection.execute(sa.select(challenges.c.name).where(this)).first() is not None

    def keep(
        self, challenge: Challenge, added: float, remove_at: float, entry: Entry
    ) -> bool | None:
        """Store that a challenge is published; return whether a failure was reported before.

        `added` is what `add` got as `remove_at`. Returns `None` if the challenge was set again or
        removed since.
        """
        this = challenges.update().where(_is(challenge), challenges.c.remove_at == added)
        published = this.values(is_published=True, remove_at=remove_at)
        with self._database.write() as connection:
            if not connection.execute(published).rowcount:
                return None
            add_entry(connection, entry)
            failures = reports.c.subject == f"{FAILED} {challenge.host}"
            return bool(connection.execute(reports.delete().where(failures)).rowcount)

    def expire(self, challenge: Challenge, now: float, added: float | None = None) -> bool:
        """Make the removal of a challenge due; return whether there is one.

        With `added`, only if the challenge wasn't set again since `add` got this as `remove_at`.
        """
        due = challenges.update().where(_is(challenge)).values(remove_at=now)
        if added is not None:
            due = due.where(challenges.c.remove_at == added)
        with self._database.write() as connection:
            return bool(connection.execute(due).rowcount)

    def delete(self, challenge: Challenge) -> None:
        """Delete a challenge whose text another client has set, so the text stays at Hetzner."""
        with self._database.write() as connection:
            connection.execute(challenges.delete().where(_is(challenge)))

    def due_names(self, now: float, limit: int) -> list[Hostname]:
        """Return the names with due removals, the longest overdue first."""
        at = challenges.c.remove_at
        query = sa.select(challenges.c.name).where(is_past(at, now)).group_by(challenges.c.name)
        with self._database.read() as connection:
            found = connection.execute(query.order_by(sa.func.min(at)).limit(limit))
            return [Hostname(row.name) for row in found]

    def due(self, name: Hostname, now: float) -> list[StoredChallenge]:
        """Return the challenges at a name that are to be removed."""
        is_due = sa.and_(challenges.c.name == name.text, is_past(challenges.c.remove_at, now))
        with self._database.read() as connection:
            rows = connection.execute(sa.select(challenges).where(is_due)).all()
        return [
            StoredChallenge(
                Challenge(Hostname(row.host), row.value, Requester(row.source, row.protocol)),
                row.is_published,
                row.remove_at,
                row.attempts,
            )
            for row in rows
        ]

    def removed(self, found: Sequence[StoredChallenge], entries: Sequence[Entry]) -> None:
        """Delete challenges that Hetzner doesn't hold any more, unless they were set again."""
        with self._database.write() as connection:
            for one in found:
                connection.execute(challenges.delete().where(_is_same(one)))
            for entry in entries:
                add_entry(connection, entry)

    def postpone(self, found: Sequence[StoredChallenge], at: float) -> None:
        """Store when the failed removal of challenges is tried again."""
        with self._database.write() as connection:
            for one in found:
                later = {"remove_at": at, "attempts": one.attempts + 1}
                connection.execute(challenges.update().where(_is_same(one)).values(later))


FAILED = "challenge_failed"  # in the history


def _is(challenge: Challenge) -> sa.ColumnElement[bool]:
    c, host = challenges.c, challenge.host.text
    return sa.and_(c.name == challenge.name.text, c.value == challenge.value, c.host == host)


def _is_same(one: StoredChallenge) -> sa.ColumnElement[bool]:
    return sa.and_(_is(one.challenge), challenges.c.remove_at == one.remove_at)
