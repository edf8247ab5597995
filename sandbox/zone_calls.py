"""The API calls for zones."""

from __future__ import annotations

import dataclasses
import functools
import ipaddress
from typing import Callable, Mapping

from flask import g, request

from sandbox import zonefile
from sandbox.exchange import (
    Reply,
    Route,
    action_json,
    body_input,
    change_reply,
    page_reply,
    selects,
    zone_json,
)
from sandbox.validation import Input, zone_faults
from sandbox.zone import Zone
from sandbox.zonedata import Zones

_ALGORITHMS = ("hmac-md5", "hmac-sha1", "hmac-sha256")
_SORTS: Mapping[str, Callable[[Zone], object]] = {
    "id": lambda zone: zone.id,
    "name": lambda zone: zone.name,
    "created": lambda zone: zone.created,
}


def list_zones(zones: Zones) -> Reply:
    """Return all zones of the project that match the query."""
    name, mode, selected = request.args.get("name"), request.args.get("mode"), selects()
    found = [
        zone
        for zone in zones.visible(g.project)
        if name in (None, zone.name) and mode in (None, zone.mode) and selected(zone.labels)
    ]
    return page_reply("zones", found, _SORTS, functools.partial(zone_json, zones))


def create_zone(zones: Zones) -> Reply:
    """Create a zone, empty or with RRSets from a list or a zone file."""
    zone = _ordered_zone(body_input())
    zone, action = zones.create(dataclasses.replace(zone, project=g.project))
    return {"zone": zone_json(zones, zone), "action": action_json(zones, action)}, 201


def get_zone(zones: Zones, z: str) -> Reply:
    return {"zone": zone_json(zones, zones.find(g.project, z))}, 200


def label_zone(zones: Zones, z: str) -> Reply:
    """Replace the labels of a zone."""
    body = body_input()
    labels = body.labels(zones.find(g.project, z).labels)
    body.check()
    zone = zones.amend(g.project, z, lambda zone: dataclasses.replace(zone, labels=labels))
    return {"zone": zone_json(zones, zone)}, 200


def delete_zone(zones: Zones, z: str) -> Reply:
    """Delete a zone with all its RRSets."""
    return {"action": action_json(zones, zones.delete(g.project, z))}, 201


def change_ttl(zones: Zones, z: str) -> Reply:
    """Change the default TTL."""
    zones.find(g.project, z).require("primary")
    body = body_input()
    ttl = body.ttl()
    body.check()
    return change_reply(zones, z, "change_ttl", dataclasses.replace, ttl=ttl)


def change_protection(zones: Zones, z: str) -> Reply:
    """Turn the delete protection of a zone on or off."""
    before = zones.find(g.project, z).protected
    body = body_input()
    on = body.read("delete", bool, before)
    body.check()
    return change_reply(zones, z, "change_protection", dataclasses.replace, protected=on)


def change_primary_nameservers(zones: Zones, z: str) -> Reply:
    """Change the primary name servers of a secondary zone."""
    zones.find(g.project, z).require("secondary")
    body = body_input()
    servers = _nameservers(body)
    body.check()
    command = "change_primary_nameservers"
    return change_reply(zones, z, command, dataclasses.replace, primary_nameservers=servers)


def export_zonefile(zones: Zones, z: str) -> Reply:
    """Return the zone as a BIND zone file."""
    return {"zonefile": zonefile.export(zones.find(g.project, z).require("primary"))}, 200


def import_zonefile(zones: Zones, z: str) -> Reply:
    """Replace all RRSets with those of a zone file."""
    zone = zones.find(g.project, z).require("primary")
    body = body_input()
    text = body.read("zonefile", str)
    body.check()
    ttl, rrsets = zonefile.parse_complete(text, zone)
    return change_reply(zones, z, "import_zonefile", Zone.replace_rrsets, rrsets, ttl)


def _ordered_zone(body: Input) -> Zone:
    zone = Zone(
        name=body.read("name", str),
        mode=body.choice("mode", ("primary", "secondary")),
        ttl=body.ttl(default=3600),
        labels=body.labels({}),
        primary_nameservers=_nameservers(body, []),
    )
    for fault in zone_faults(zone.name) if zone.name else ():
        body.fault("name", fault)
    parts = body.objects("rrsets", "name", "type", "ttl", "records", "labels", default=[])
    rrsets = [part.rrset(zone.name) for part in parts]
    text = body.read("zonefile", str, "")
    if body.has("rrsets") and body.has("zonefile"):
        body.fault("zonefile", "can't be given together with rrsets")
    body.check()
    if text:
        ttl, rrsets = zonefile.parse(text, zone)
        zone = dataclasses.replace(zone, ttl=ttl)
    return zone.create(*rrsets)


def _nameservers(body: Input, default: object = ...) -> tuple[Mapping[str, object], ...]:
    return tuple(_nameserver(part) for part in body.objects("primary_nameservers", default=default))


def _nameserver(part: Input) -> Mapping[str, object]:
    address = part.read("address", str)
    try:
        ipaddress.ip_address(address)
    except ValueError:
        part.fault("address", "must be an IP address")
    server: dict[str, object] = {"address": address, "port": part.read("port", int, 53)}
    if part.has("tsig_key"):
        server["tsig_key"] = part.read("tsig_key", str)
        server["tsig_algorithm"] = part.choice("tsig_algorithm", _ALGORITHMS)
    return server


ROUTES: tuple[Route, ...] = (
    ("GET", "/zones", list_zones),
    ("POST", "/zones", create_zone),
    ("GET", "/zones/<z>", get_zone),
    ("PUT", "/zones/<z>", label_zone),
    ("DELETE", "/zones/<z>", delete_zone),
    ("GET", "/zones/<z>/zonefile", export_zonefile),
    ("POST", "/zones/<z>/actions/change_ttl", change_ttl),
    ("POST", "/zones/<z>/actions/change_protection", change_protection),
    ("POST", "/zones/<z>/actions/change_primary_nameservers", change_primary_nameservers),
    ("POST", "/zones/<z>/actions/import_zonefile", import_zonefile),
)
