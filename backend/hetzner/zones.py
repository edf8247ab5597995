"""Finds the zone and the project of a host in a cached list of zones."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Callable, Iterable, Mapping, Sequence

from backend.errors import DyndnsError, HetznerBusy, SecondaryZone, TransientError, ZoneNotFound
from backend.hetzner.client import CloudApi
from backend.hetzner.dns import PRIMARY, Hetzner, Location, Zone
from backend.model import Deadline, Hostname
from backend.settings import Settings

# The maximum age of a list that has no usable zone for a host. Until then, repeated requests don't
# list the zones again.
_MISS_PAUSE = 5.0
# How long an old list is used after a project couldn't be listed.
_RETRY_PAUSE = 10.0
# The longest time that a request spends on a new list while an old one exists.
_REFRESH_SECONDS = 3.0
# What to do about each delegation status.
# https://docs.hetzner.cloud/cloud.spec.json, a zone's authoritative_nameservers
_REGISTRAR = "At your registrar, set the name servers that Hetzner assigns to the zone"
_DELEGATION_HINTS: Mapping[str, str] = {
    "valid": "",
    "partially-valid": f"{_REGISTRAR}, and no others.",
    "invalid": f"The zone isn't delegated to Hetzner. {_REGISTRAR}.",
    "lame": f"The zone isn't delegated to Hetzner. {_REGISTRAR}.",
    "unregistered": "The zone isn't delegated to Hetzner. Register the domain.",
    "unknown": "Hetzner doesn't know whether the zone is delegated: check again later.",
    "": "Hetzner reports no delegation status.",
}
_UNDELEGATED = ("invalid", "lame", "unregistered")


def longest_match(zones: Mapping[str, Zone], host: Hostname) -> Location | None:
    """Return where a host's records are, given all zones by name."""
    labels = host.text.split(".")
    for cut in range(len(labels)):
        zone = zones.get(".".join(labels[cut:]))
        if zone is not None:
            return Location(zone, ".".join(labels[:cut]) or "@")
    return None


@dataclass(frozen=True)
class _Listing:
    """The zones of all projects; those of a failed project are from the list before."""

    zones: Mapping[str, Zone]  # by name
    failures: Sequence[DyndnsError]  # transient errors first
    at: float
    is_whole: bool  # no project had a transient error


class Zones:
    """Finds the zone of a host. Safe to share between threads."""

    def __init__(
        self,
        projects: Sequence[Hetzner],
        ttl: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._projects = projects
        self._ttl = ttl
        self._clock = clock
        self._refreshing = threading.Lock()
        self._listing: _Listing | None = None
        self._retry_at = clock()

    def find(self, host: Hostname, deadline: Deadline) -> Location:
        """Return where a host's records are; the longest matching zone wins.

        A list without a primary zone for the host is used for a few seconds only.

        Raises:
            ZoneNotFound: no project has a zone for the host.
            SecondaryZone: the zone can't be changed at Hetzner.
            TokenRejected: no zone was found, and Hetzner rejects one of the tokens.
            TransientError: no primary zone was found, and a project can't be listed now.

        """
        listing = self._listed(deadline, self._ttl, accept_old=True)
        found = longest_match(listing.zones, host)
        if found is None or found.zone.mode != PRIMARY:
            listing = self._listed(deadline, min(self._ttl, _MISS_PAUSE))
            found = longest_match(listing.zones, host)
        if found is not None and found.zone.mode == PRIMARY:
            return found
        if listing.failures and (found is None or not listing.is_whole):
            raise listing.failures[0]
        if found is None:
            raise ZoneNotFound(
                f"No zone for {host} in any project of HETZNER_TOKEN",
                hint="create the zone at console.hetzner.com, or add a token of its project.",
            )
        zone = found.zone
        raise SecondaryZone(
            f"Zone {zone.name} is a {zone.mode} zone at Hetzner",
            hint="change it at its primary server.",
        )

    def recall(self, host: Hostname) -> Location | None:
        """Return where a host's records are according to the last list, without a call."""
        listing = self._listing
        return None if listing is None else longest_match(listing.zones, host)

    @property
    def known(self) -> frozenset[Zone]:
        """The zones in the last list."""
        listing = self._listing
        return frozenset(listing.zones.values() if listing is not None else ())

    def invalidate(self) -> None:
        """Drop the list, because a zone in it doesn't exist any more."""
        self._listing = None

    def _listed(self, deadline: Deadline, max_age: float, *, accept_old: bool = False) -> _Listing:
        """Return a list of this age at most; an old one if another thread is making a new one."""
        known, now = self._listing, self._clock()
        if known is not None and (
            now < self._retry_at or (known.is_whole and now - known.at < max_age)
        ):
            return known
        old = known if accept_old else None
        if not self._refreshing.acquire(timeout=deadline.remaining() if old is None else 0):
            if old is None:
                raise HetznerBusy("Hetzner is slow to list the zones.")
            return old
        try:
            newest = self._listing
            if newest is not None and newest is not known:  # another thread has made it
                return newest
            return self._list(newest, deadline)
        finally:
            self._refreshing.release()

    def _list(self, known: _Listing | None, deadline: Deadline) -> _Listing:
        """List all projects. One that is busy or has a bad token doesn't affect the others."""
        if known is not None:
            deadline = Deadline(min(_REFRESH_SECONDS, deadline.remaining()))
        zones: dict[str, Zone] = {}
        failures: list[DyndnsError] = []
        is_whole = True
        for project in self._projects:
            try:
                listed: Iterable[Zone] = project.zones(deadline)
            except TransientError as error:
                failures.insert(0, error)
                is_whole = False
                old = () if known is None else known.zones.values()
                listed = [zone for zone in old if zone.project is project]
            except DyndnsError as error:
                failures.append(error)
                continue
            for zone in listed:
                zones.setdefault(zone.name, zone)
        if known is None and not zones and not is_whole:
            raise failures[0]
        if not is_whole:
            # Later requests use this list for a while, instead of waiting for Hetzner again.
            self._retry_at = self._clock() + _RETRY_PAUSE
        self._listing = _Listing(zones, failures, self._clock(), is_whole)
        return self._listing


def delegation_hint(delegation: str) -> str:
    """Return what to do about a zone's delegation status; empty if nothing."""
    return _DELEGATION_HINTS.get(delegation, "The status is unknown: see console.hetzner.com.")


def is_undelegated(delegation: str) -> bool:
    """Whether this delegation status keeps resolvers from finding the zone at Hetzner."""
    return delegation in _UNDELEGATED


def open_projects(
    settings: Settings,
    agent: str,
    observe: Callable[[str, DyndnsError | None, float], None] = lambda *_: None,
) -> list[Hetzner]:
    """Return the projects of all tokens. The other arguments are those of `CloudApi`."""
    records, url = settings.records, settings.hetzner.api_url
    return [
        Hetzner(CloudApi(token, url, agent, observe), records.ttl, records.chosen_ttl)
        for token in settings.hetzner.tokens
    ]
