"""Tries for real what the service needs at Hetzner: tokens, zones, and room for each host."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Callable, Dict, FrozenSet, Iterator, List, Optional, Sequence

from backend import __version__
from backend.checks.machine import FAIL, OK, WARN, Line, told
from backend.errors import DyndnsError
from backend.hetzner import inspection
from backend.hetzner.api import CloudApi, Deadline
from backend.hetzner.inspection import ZoneSight
from backend.model import Hostname
from backend.operations.overview import delegation_mend, is_lost
from backend.plural import counted
from backend.settings import HetznerSettings

_SECONDS = 20.0
_REACH = "Check HETZNER_API_URL, this machine's network and DNS; status.hetzner.com may say more."

Progress = Callable[[str], None]


@dataclass(frozen=True)
class _Seen:
    """A zone, and by which token."""

    api: CloudApi
    sight: ZoneSight


@dataclass
class _Tokens:
    """What all tokens see."""

    zones: Dict[str, _Seen] = field(default_factory=dict)
    have_failed: bool = False


def check_hetzner(
    settings: HetznerSettings, hosts: Sequence[Hostname], progress: Progress
) -> Iterator[Line]:
    """Try every token, then every zone that holds a host, then every host."""
    tokens = _Tokens()
    for number, token in enumerate(settings.tokens, 1):
        what = f"token {number} of {len(settings.tokens)}"
        progress(what)
        api = CloudApi(token, settings.api_url, f"hetzner-dyndns/{__version__} check")
        yield from _check_token(what, api, tokens)
    holders = {host: _zone_of(host, tokens.zones) for host in hosts}
    aliases: Dict[str, FrozenSet[str]] = {}
    for name in sorted({seen.sight.name for seen in holders.values() if seen is not None}):
        progress(f"zone {name}")
        yield from _check_zone(tokens.zones[name], aliases)
    for host, seen in holders.items():
        yield _check_host(host, seen, aliases, tokens)


def _check_token(what: str, api: CloudApi, tokens: _Tokens) -> Iterator[Line]:
    try:
        zones = inspection.zones(api, Deadline(_SECONDS))
        left = "".join(f", {one.remaining} of {one.limit} calls left" for one in api.quotas)
        yield Line(OK, what, f"it may read: {counted(len(zones), 'zone')}{left}.")
        for zone in zones:
            tokens.zones.setdefault(zone.name, _Seen(api, zone))
        yield _writing(what, inspection.may_write(api, Deadline(_SECONDS)))
    except DyndnsError as error:
        tokens.have_failed = True
        line = told(FAIL, what, error)
        yield line if line.mend else replace(line, mend=_REACH)


def _writing(what: str, may_write: Optional[bool]) -> Line:
    if may_write is None:
        mend = "See at console.hetzner.com whether it has the permission Read & Write."
        return Line(WARN, what, "whether it may write can't be told without a change.", mend)
    if not may_write:
        mend = "Make a token with Read & Write permission, and set HETZNER_TOKEN to it."
        return Line(FAIL, what, "it may not write.", mend)
    return Line(OK, what, "it may write (nothing was changed).")


def _zone_of(host: Hostname, zones: Dict[str, _Seen]) -> Optional[_Seen]:
    """Return the zone that holds a host: the longest that matches."""
    labels = host.text.split(".")
    names = (".".join(labels[cut:]) for cut in range(len(labels)))
    return next((zones[name] for name in names if name in zones), None)


def _check_zone(seen: _Seen, aliases: Dict[str, FrozenSet[str]]) -> Iterator[Line]:
    zone = seen.sight
    what = f"zone {zone.name}"
    mend = delegation_mend(zone.delegation)
    state = OK if zone.delegation == "valid" else FAIL if is_lost(zone.delegation) else WARN
    yield Line(state, what, f"delegation {zone.delegation or 'not told'}.", mend)
    if zone.mode != "primary":
        yield Line(FAIL, what, f"it is a {zone.mode} zone.", "Change it at its primary server.")
        return
    try:
        aliases[zone.name] = inspection.aliases(seen.api, zone.name, Deadline(_SECONDS))
    except DyndnsError as error:
        yield told(FAIL, what, error)


def _check_host(
    host: Hostname,
    seen: Optional[_Seen],
    aliases: Dict[str, FrozenSet[str]],
    tokens: _Tokens,
) -> Line:
    what = host.text
    if seen is None:
        return _zoneless(what, tokens)
    zone = seen.sight.name
    if zone not in aliases:
        return Line(FAIL, what, f"its zone {zone} can't be used.", f"See zone {zone}.")
    if _relative(host, zone) in aliases[zone]:
        mend = "Delete the CNAME record at Hetzner."
        return Line(FAIL, what, "it is a CNAME, which excludes addresses.", mend)
    return Line(OK, what, f"there is room for it in zone {zone}.")


def _zoneless(what: str, tokens: _Tokens) -> Line:
    if tokens.have_failed:
        found = "no token that works sees a zone that holds it."
        return Line(FAIL, what, found, "See the tokens above.")
    mend = "Create its zone at console.hetzner.com, or add a token of the zone's project."
    return Line(FAIL, what, "no token sees a zone that holds it.", mend)


def _relative(host: Hostname, zone: str) -> str:
    return host.text[: -len(zone) - 1] or "@"


def any_failed(lines: List[Line]) -> bool:
    """Whether anything is wrong."""
    return any(line.state == FAIL for line in lines)
