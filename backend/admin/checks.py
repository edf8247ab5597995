"""Tests tokens, zones and hosts at Hetzner without changing anything."""

from __future__ import annotations

from collections import defaultdict
from typing import Callable, Iterable, Iterator, Mapping, Sequence, Tuple

from backend.errors import FAIL, OK, WARN, DyndnsError, Line, TransientError, failed_line
from backend.hetzner.dns import PRIMARY, Hetzner, Location, RRSet, Zone
from backend.hetzner.zones import Zones, delegation_hint, is_undelegated, longest_match
from backend.model import Deadline, Hostname, shown
from backend.text import counted

RRSets = Mapping[Tuple[str, str], RRSet]

_SECONDS = 20.0
_KINDS = ("A", "AAAA", "CNAME")
# Up to this many hosts of a zone are read one by one; for more, the whole zone is read.
_FEW_HOSTS = 5
_MOST_NAMED = 5
_NETWORK_HINT = (
    "Check HETZNER_API_URL, and the network and DNS of this machine. "
    "Hetzner lists outages at status.hetzner.com."
)
_PLACE = "Create its zone at console.hetzner.com, or add a token of the zone's project."


# By the result of `Hetzner.may_write`.
_WRITING: Mapping[bool | None, tuple[str, str, str]] = {
    True: (OK, "The token may write. The check changed nothing.", ""),
    False: (
        FAIL,
        "The token may not write.",
        "Create a token with Read & Write permission, and set HETZNER_TOKEN to it.",
    ),
    None: (
        WARN,
        "The check can't find out whether the token may write.",
        "Check at console.hetzner.com that the token has Read & Write permission.",
    ),
}


def check_all(
    projects: Sequence[Hetzner],
    hosts: Iterable[Hostname],
    progress: Callable[[str], None] = lambda _: None,
) -> Iterator[Line]:
    """Test every token, then every zone of a host, then every host."""
    zones: dict[str, Zone] = {}
    has_failed = False
    for number, hetzner in enumerate(projects, 1):
        what = f"token {number} of {len(projects)}"
        progress(what)
        try:
            listed = hetzner.zones(Deadline(_SECONDS))
            quotas = hetzner.api.quotas
            left = "".join(f", {one.remaining} of {one.limit} calls left" for one in quotas)
            yield Line(OK, what, f"The token can read {counted(len(listed), 'zone')}{left}.")
            for zone in listed:
                zones.setdefault(zone.name, zone)
            state, found, hint = _WRITING[hetzner.may_write(Deadline(_SECONDS))]
            yield Line(state, what, found, hint)
        except DyndnsError as error:
            has_failed = True
            yield Line(FAIL, what, error.seen, error.hint or _NETWORK_HINT)
    locations = {host: longest_match(zones, host) for host in hosts}
    rrsets: dict[Zone, RRSets] = {}
    for name in sorted({found.zone.name for found in locations.values() if found is not None}):
        progress(f"zone {name}")
        yield from _check_zone(zones[name], rrsets)
    names = [shown(host) for host, location in locations.items() if location is None]
    if has_failed and names:
        rest = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        found = f"No valid token has a zone for {', '.join(names[:_MOST_NAMED])}{rest}."
        yield Line(FAIL, "hosts", found, "See the failed tokens above.")
    for host, location in locations.items():
        what = shown(host)
        if location is None:
            if not has_failed:
                yield Line(FAIL, what, "No token has a zone for this host.", _PLACE)
        elif location.zone not in rrsets:
            found = f"The service can't use the zone {location.zone.name}."
            yield Line(FAIL, what, found, f"See zone {location.zone.name} above.")
        else:
            yield from _check_host(host, location, rrsets[location.zone])


def inspect(zones: Zones, hosts: Iterable[Hostname]) -> Iterator[Line]:
    """Test whether hosts can be added: their zones, and the records at their names.

    A host that fails can't be updated. A host that can't be tested in time gets a warning.
    """
    deadline = Deadline(_SECONDS)  # for all hosts: the operator waits for the answer
    located: dict[Zone, list[tuple[Hostname, Location]]] = defaultdict(list)
    for host in hosts:
        try:
            location = zones.find(host, deadline)
            located[location.zone].append((host, location))
        except DyndnsError as error:
            yield _unfound(host, error)
    for zone, some in located.items():
        if zone.delegation != "valid":
            hint = delegation_hint(zone.delegation)
            yield Line(WARN, f"zone {zone.name}", f"Delegation: {zone.delegation}.", hint)
        found: RRSets = {}
        for number, (host, location) in enumerate(some):
            try:
                if len(some) <= _FEW_HOSTS or not number:
                    name = location.name if len(some) <= _FEW_HOSTS else None
                    _, found = zone.project.read_zone(zone, deadline, _KINDS, name)
            except DyndnsError as error:
                yield from (_unfound(other, error) for other, _ in some[number:])
                break
            yield from _check_host(host, location, found, "The next update changes them.")


def _unfound(host: Hostname, error: DyndnsError) -> Line:
    if isinstance(error, TransientError):
        return Line(WARN, shown(host), f"The host can't be checked now: {error}")
    return failed_line(FAIL, shown(host), error)


def _check_zone(zone: Zone, rrsets: dict[Zone, RRSets]) -> Iterator[Line]:
    """Test a zone, and add its records to `rrsets` if the service can use the zone."""
    what = f"zone {zone.name}"
    delegation = zone.delegation
    state = OK if delegation == "valid" else FAIL if is_undelegated(delegation) else WARN
    found = f"Delegation: {delegation or 'not reported'}."
    yield Line(state, what, found, delegation_hint(delegation))
    if zone.has_failed:
        hint = "Check the zone at console.hetzner.com, or contact Hetzner's support."
        yield Line(FAIL, what, "Hetzner can't publish the zone.", hint)
    if zone.mode != PRIMARY:
        hint = "Change its records at its primary server."
        yield Line(FAIL, what, f"Hetzner doesn't change {zone.mode} zones.", hint)
        return
    try:
        _, rrsets[zone] = zone.project.read_zone(zone, Deadline(_SECONDS), _KINDS)
    except DyndnsError as error:
        yield failed_line(FAIL, what, error)


def _check_host(
    host: Hostname, location: Location, rrsets: RRSets, hint_if_held: str = ""
) -> Iterator[Line]:
    what = shown(host)
    found_here = {kind: rrsets.get((location.name, kind)) for kind in _KINDS}
    if found_here["CNAME"] is not None:
        hint = "Delete the CNAME record at Hetzner."
        yield Line(FAIL, what, "The host has a CNAME record, so it can't have addresses.", hint)
        return
    for kind, rrset in found_here.items():
        if rrset is not None and len(rrset.comments) > 1:
            hint = "The next update replaces them with one. Give other machines their own names."
            yield Line(WARN, what, f"The host has several {kind} records: {rrset}.", hint)
    held = ", ".join(f"{kind} {rrset}" for kind, rrset in found_here.items() if rrset is not None)
    now = f"now {held}" if held else "no address yet"
    found = f"The records are in zone {location.zone.name}: {now}."
    yield Line(OK, what, found, hint_if_held if held else "")
