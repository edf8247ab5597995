"""What publishing a record has changed, and why: in the words of history and events."""

from __future__ import annotations

from typing import Optional

from backend.events import Cleared, Confirmed, Event, Published
from backend.hetzner.rrsets import RRSet
from backend.model import Change
from backend.store import News, Novelty, Record


def change_of(record: Record, rrset: Optional[RRSet]) -> Change:
    """Return what writing a record has done to what was there before."""
    address = record.wanted.address
    if address is None:
        return Change.DELETED
    if rrset is None:
        return Change.CREATED
    return Change.UNCHANGED if rrset.holds(address) else Change.REPLACED  # only the TTL changed


def event_of(record: Record, news: Optional[News]) -> Event:
    """Return what the operator may hear of it."""
    if news is None:
        return Confirmed(record.host, record.type)
    new = str(record.wanted.address or "none")
    return Published(record.host, record.type, news.old or "none", new, news.why)


def reason_for(record: Record) -> str:
    """Say for the history why a record is written."""
    if record.is_accepted:
        return "put back: it was changed at Hetzner"
    if record.attempts:
        return f"asked by {record.asker.source}, done at attempt {record.attempts + 1}"
    return f"asked by {record.asker.source}"


def cleared(record: Record, novelty: Novelty, now: float) -> Cleared:
    """Return the event that a record is well again."""
    after = now - record.wished_at
    return Cleared(record.host, record.type, after, is_news=novelty is Novelty.HOST)
