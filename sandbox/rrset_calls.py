"""The API calls for the RRSets of a zone; all of them are refused for a secondary zone."""

from __future__ import annotations

import functools
from typing import Callable, Mapping

from flask import g, request

from sandbox.exchange import Reply, Route, body_input, change_reply, page_reply, selects
from sandbox.refusal import ApiError, not_found
from sandbox.shapes import rrset_shape
from sandbox.validation import TYPES, name_faults
from sandbox.zone import Record, RRSet, Zone
from sandbox.zonedata import Zones

_MOST_PER_PAGE = 100
_SORTS: Mapping[str, Callable[[RRSet], object]] = {
    "id": lambda rrset: rrset.key,
    "name": lambda rrset: rrset.name,
    "created": lambda rrset: rrset.number,
}


def list_rrsets(zones: Zones, z: str) -> Reply:
    """Return all RRSets that match the query."""
    zone = _primary(zones, z)
    name, types, selected = request.args.get("name"), request.args.getlist("type"), selects()
    found = zone.rrsets.listed if name is None else zone.rrsets.at(name)
    if types:
        found = [rrset for rrset in found if rrset.type in types]
    if "label_selector" in request.args:
        found = [rrset for rrset in found if selected(rrset.labels)]
    shape = functools.partial(rrset_shape, zone)
    return page_reply("rrsets", found, _SORTS, shape, _MOST_PER_PAGE)


def create_rrset(zones: Zones, z: str) -> Reply:
    zone = _primary(zones, z)
    body = body_input("name", "type", "ttl", "records", "labels")
    rrset = body.rrset(zone.name)
    body.check()
    reply, status = change_reply(zones, z, "create_rrset", Zone.create, rrset)
    return {"rrset": rrset_shape(zone, rrset), **reply}, status


def get_rrset(zones: Zones, z: str, name: str, kind: str) -> Reply:
    zone = _primary(zones, z)
    return {"rrset": rrset_shape(zone, zone.get((name, kind)))}, 200


def label_rrset(zones: Zones, z: str, name: str, kind: str) -> Reply:
    """Replace the labels of an RRSet."""
    before = _primary(zones, z).get((name, kind))
    body = body_input("labels")
    if body.has("records"):
        raise ApiError(422, "can't update records with this endpoint")
    labels = body.labels(before.labels)
    body.check()
    zone = zones.amend(g.project, z, lambda zone: zone.label((name, kind), labels))
    return {"rrset": rrset_shape(zone, zone.get((name, kind)))}, 200


def patch_rrset(_: Zones, **__: str) -> Reply:
    """Answer 404, as recorded at Hetzner."""
    raise not_found("Resource")


def delete_rrset(zones: Zones, z: str, name: str, kind: str) -> Reply:
    """Delete an RRSet with all its records."""
    _primary(zones, z)
    return change_reply(zones, z, "delete_rrset", Zone.delete, (name, kind))


def change_ttl(zones: Zones, z: str, name: str, kind: str) -> Reply:
    """Change the TTL; null, which must be explicit, means the TTL of the zone."""
    _primary(zones, z)
    body = body_input("ttl")
    ttl = body.ttl(default=None)
    if not body.has("ttl"):
        body.fault("ttl", "missing")
    body.check()
    return change_reply(zones, z, "change_rrset_ttl", Zone.set_ttl, (name, kind), ttl)


def change_protection(zones: Zones, z: str, name: str, kind: str) -> Reply:
    """Turn the change protection of an RRSet on or off."""
    _primary(zones, z)
    body = body_input("change")
    on = body.read("change", bool)
    body.check()
    return change_reply(zones, z, "change_rrset_protection", Zone.protect, (name, kind), on=on)


def set_records(zones: Zones, z: str, name: str, kind: str) -> Reply:
    records = _records(zones, z, kind)
    return change_reply(zones, z, "set_rrset_records", Zone.set_records, (name, kind), records)


def add_records(zones: Zones, z: str, name: str, kind: str) -> Reply:
    """Add records; create the RRSet if it doesn't exist."""
    zone = _primary(zones, z)
    body = body_input("records", "ttl")
    records, ttl = body.records(_known(kind)), body.ttl(default=None)
    for fault in name_faults(name, zone.name):
        body.fault("name", fault)
    body.check()
    return change_reply(zones, z, "add_rrset_records", Zone.add_records, (name, kind), records, ttl)


def remove_records(zones: Zones, z: str, name: str, kind: str) -> Reply:
    """Remove records by their values."""
    records = _records(zones, z, kind)
    command = "remove_rrset_records"
    return change_reply(zones, z, command, Zone.remove_records, (name, kind), records)


def update_records(zones: Zones, z: str, name: str, kind: str) -> Reply:
    """Change the comments of records; the only write that answers 200."""
    records = _records(zones, z, kind, comment=...)
    reply, _ = change_reply(zones, z, "update_rrset_records", Zone.comment, (name, kind), records)
    return reply, 200


def _primary(zones: Zones, z: str) -> Zone:
    return zones.find(g.project, z).require("primary")


def _known(kind: str) -> str:
    if kind not in TYPES:
        raise not_found("RRSet")
    return kind


def _records(zones: Zones, z: str, kind: str, comment: object = "") -> tuple[Record, ...]:
    _primary(zones, z)
    body = body_input("records")
    records = body.records(_known(kind), comment)
    body.check()
    return records


_RRSET = "/zones/<z>/rrsets/<name>/<kind>"
ROUTES: tuple[Route, ...] = (
    ("GET", "/zones/<z>/rrsets", list_rrsets),
    ("POST", "/zones/<z>/rrsets", create_rrset),
    ("GET", _RRSET, get_rrset),
    ("PUT", _RRSET, label_rrset),
    ("PATCH", _RRSET, patch_rrset),
    ("DELETE", _RRSET, delete_rrset),
    ("POST", f"{_RRSET}/actions/change_ttl", change_ttl),
    ("POST", f"{_RRSET}/actions/change_protection", change_protection),
    ("POST", f"{_RRSET}/actions/set_records", set_records),
    ("POST", f"{_RRSET}/actions/add_records", add_records),
    ("POST", f"{_RRSET}/actions/remove_records", remove_records),
    ("POST", f"{_RRSET}/actions/update_records", update_records),
)
