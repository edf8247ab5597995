"""What each record shall be, what Hetzner has accepted of it, and what is left to do."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, Dict, Mapping, Optional

import sqlalchemy as sa

from backend.model import Address, Asker, Change, Hostname, RecordType, Update, Wish
from backend.store import history
from backend.store.database import Database
from backend.store.schema import records


class State(enum.Enum):
    """How far a wish has come."""

    PENDING = "pending"  # wanted, not yet accepted by Hetzner
    PUBLISHING = "publishing"  # accepted; Hetzner's action still runs
    PUBLISHED = "published"
    REFUSED = "refused"  # needs the operator


@dataclass(frozen=True)
class Record:
    """What is known of one record: the wish, and how far it has come. Times are UTC seconds."""

    host: Hostname
    wanted: Wish
    wish: int  # counts wishes: tells a late answer to an older one
    asker: Asker
    state: State
    published: Optional[Address]
    action: Optional[int]
    accepted_at: Optional[float]
    checked_at: float
    attempts: int
    next_try_at: float
    error: str

    @property
    def type(self) -> RecordType:
        """The record's type."""
        return self.wanted.type

    @property
    def is_accepted(self) -> bool:
        """Whether Hetzner has accepted the wish."""
        return self.state in (State.PUBLISHING, State.PUBLISHED)


class Records:
    """The records. Every method raises `StoreUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, host: Hostname) -> Dict[RecordType, Record]:
        """Return what is known of a host's records: one indexed read."""
        with self._database.read() as connection:
            rows = connection.execute(_OF_HOST, {"name": host.text}).mappings().all()
        found = [_record(row) for row in rows]
        return {record.type: record for record in found}

    def wish(self, update: Update, now: float, grace: float) -> None:
        """Remember what a host wants, before Hetzner is asked.

        A wish that is new, or that was refused before, becomes pending; the same wish again
        changes nothing. For `grace` seconds only the request itself tries to fulfil it.
        """
        with self._database.write() as connection:
            for wish in update.wishes:
                connection.execute(self._upsert(update, wish, now, now + grace))

    def _upsert(self, update: Update, wish: Wish, now: float, next_try_at: float) -> sa.Insert:
        pending = {
            "wanted": None if wish.address is None else str(wish.address),
            "wished_at": now,
            "source": update.asker.source,
            "face": update.asker.face,
            "state": State.PENDING.value,
            "attempts": 0,
            "next_try_at": next_try_at,
            "error": "",
        }
        insert = self._database.insert(records).values(
            host=update.host.text, type=wish.type.value, wish=1, checked_at=0.0, **pending
        )
        is_news = sa.or_(
            records.c.wanted.is_distinct_from(insert.excluded.wanted),
            records.c.state == State.REFUSED.value,
        )
        upsert: sa.Insert = insert.on_conflict_do_update(
            index_elements=[records.c.host, records.c.type],
            set_={"wish": records.c.wish + 1, **pending},
            where=is_news,
        )
        return upsert

    def accept(
        self, record: Record, change: Change, action: Optional[int], now: float, **told: str
    ) -> None:
        """Note that Hetzner has accepted a wish, or holds it already (no action to follow).

        A newer wish that came in meanwhile stays pending. `told` is what the history shall say
        besides: `old` and `why`.
        """
        published = None if record.wanted.address is None else str(record.wanted.address)
        accepted = {
            "state": (State.PUBLISHED if action is None else State.PUBLISHING).value,
            "action": action,
            "attempts": 0,
            "next_try_at": now,
            "error": "",
        }
        entry = _entry(record, now, change.value, new=published, **told)
        with self._database.write() as connection:
            this = _this(record).values(published=published, checked_at=now)
            if change is not Change.UNCHANGED:
                this = this.values(accepted_at=now)
                history.add(connection, entry)
            connection.execute(this)
            connection.execute(_this_wish(record).values(**accepted))

    def postpone(self, record: Record, error: str, now: float, next_try_at: float) -> None:
        """Note that a wish could not be fulfilled yet."""
        self._fail(record, State.PENDING, error, now, next_try_at)

    def refuse(self, record: Record, error: str, now: float, next_try_at: float) -> None:
        """Note that a wish needs the operator."""
        self._fail(record, State.REFUSED, error, now, next_try_at)

    def _fail(
        self, record: Record, state: State, error: str, now: float, next_try_at: float
    ) -> None:
        failed = {
            "state": state.value,
            "attempts": record.attempts + 1,
            "next_try_at": next_try_at,
            "error": error,
        }
        event = "refused" if state is State.REFUSED else "postponed"
        with self._database.write() as connection:
            connection.execute(_this_wish(record).values(**failed))
            if error != record.error:  # once a cause, not once an attempt
                history.add(connection, _entry(record, now, event, why=error))

    def defer_check(self, record: Record, next_try_at: float) -> None:
        """Note that an accepted record can't be verified before a certain time."""
        with self._database.write() as connection:
            connection.execute(_this_wish(record).values(next_try_at=next_try_at))


_OF_HOST = sa.select(records).where(records.c.host == sa.bindparam("name"))


def _this(record: Record) -> sa.Update:
    return records.update().where(
        records.c.host == record.host.text, records.c.type == record.type.value
    )


def _this_wish(record: Record) -> sa.Update:
    return _this(record).where(records.c.wish == record.wish)


def _entry(  # noqa: PLR0913
    record: Record,
    at: float,
    event: str,
    *,
    old: Optional[str] = None,
    new: Optional[str] = None,
    why: str = "",
) -> history.Entry:
    return history.Entry(
        at=at,
        host=record.host.text,
        type=record.type.value,
        event=event,
        source=record.asker.source,
        face=record.asker.face,
        old=old,
        new=new,
        why=why,
    )


def _record(row: Mapping[Any, Any]) -> Record:
    return Record(
        host=Hostname(row["host"]),
        wanted=Wish(RecordType(row["type"]), _address(row["wanted"])),
        wish=row["wish"],
        asker=Asker(row["source"], row["face"]),
        state=State(row["state"]),
        published=_address(row["published"]),
        action=row["action"],
        accepted_at=row["accepted_at"],
        checked_at=row["checked_at"],
        attempts=row["attempts"],
        next_try_at=row["next_try_at"],
        error=row["error"],
    )


def _address(text: Optional[str]) -> Optional[Address]:
    return None if text is None else Address.parse(text)
