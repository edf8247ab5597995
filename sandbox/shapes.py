"""Zones, RRSets and actions as JSON."""

from __future__ import annotations

import secrets
from datetime import datetime, timezone
from typing import Dict, Sequence

from sandbox.action import Action
from sandbox.zone import NAMESERVERS, Record, RRSet, Zone

Shape = Dict[str, object]

# Each delegation status, with the name servers that the parent zone has.
DELEGATED: dict[str, list[str]] = {
    "valid": sorted(NAMESERVERS),
    "partially-valid": sorted([*NAMESERVERS, "ns1.first-ns.de."]),
    "invalid": [NAMESERVERS[0], "ns.example.net."],
    "lame": ["ns1.example.net.", "ns2.example.net."],
    "unregistered": [],
    "unknown": [],
}


def zone_shape(zone: Zone, status: str) -> Shape:
    """Return a zone as JSON; its domain is registered elsewhere."""
    return {
        "id": zone.id,
        "name": zone.name,
        "mode": zone.mode,
        "ttl": zone.ttl,
        "labels": dict(zone.labels),
        "primary_nameservers": [dict(server) for server in zone.primary_nameservers],
        "created": moment(zone.created),
        "protection": {"delete": zone.protected},
        "status": status,
        "record_count": zone.record_count,
        "registrar": "other",
        "authoritative_nameservers": {
            "assigned": list(NAMESERVERS),
            "delegated": DELEGATED[zone.delegation],
            "delegation_last_check": None if zone.delegation == "unknown" else moment(zone.created),
            "delegation_status": zone.delegation,
        },
    }


def rrset_shape(zone: Zone, rrset: RRSet) -> Shape:
    """Return an RRSet as JSON, with its records in random order: Hetzner guarantees none."""
    return {
        "id": f"{rrset.name}/{rrset.type}",
        "name": rrset.name,
        "type": rrset.type,
        "ttl": rrset.ttl,
        "labels": dict(rrset.labels),
        "protection": {"change": rrset.protected},
        "records": [
            {"value": record.value, "comment": record.comment}
            for record in _shuffled(rrset.records)
        ],
        "zone": zone.id,
    }


def action_shape(action: Action, now: float) -> Shape:
    """Return an action at the time `now` as JSON."""
    failed = action.status(now) == "error"
    return {
        "id": action.id,
        "command": action.command,
        "status": action.status(now),
        "progress": action.progress(now),
        "started": moment(action.started),
        "finished": moment(action.finished(now)),
        "resources": [{"id": action.zone_id, "type": "zone"}],
        "error": action.error if failed else None,
    }


def moment(seconds: float | None) -> str | None:
    """Format a time like Hetzner."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _shuffled(records: tuple[Record, ...]) -> Sequence[Record]:
    # Shuffling needs a system call, and a page may contain a hundred RRSets with one record each.
    return records if len(records) == 1 else secrets.SystemRandom().sample(records, len(records))
