"""Which zone of which token holds a name: a cached list, stale while Hetzner is away."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Callable, Dict, FrozenSet, Optional, Sequence

from backend.cloud_api import Deadline
from backend.errors import DyndnsError, TransientError, ZoneNotFound
from backend.hetzner import Hetzner
from backend.model import Hostname
from backend.rrsets import Owner

# A name without a zone must not cost a list of zones a request.
_MISS_PAUSE = 10.0


@dataclass(frozen=True)
class Location:
    """Where a host's records are, and the project to change them by."""

    hetzner: Hetzner
    owner: Owner


@dataclass(frozen=True)
class _Listing:
    """All zones of all tokens, as listed at one moment."""

    apexes: Dict[str, Location]  # by the name of the zone
    failures: Sequence[DyndnsError]  # of tokens that listed nothing
    at: float


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
        self._lock = threading.Lock()
        self._listing: Optional[_Listing] = None
        self._retry_at = clock()

    def find(self, host: Hostname, deadline: Deadline) -> Location:
        """Return where a host's records are; the longest matching zone wins.

        Raises:
            ZoneNotFound: no token sees a zone that holds the name.
            TokenRejected: the same, and a token is bad that might have seen it.
            TransientError: Hetzner is away, and no list is known yet.

        """
        listing = self._listed(deadline, self._ttl)
        found = _longest_match(listing, host)
        if found is None:
            listing = self._listed(deadline, min(self._ttl, _MISS_PAUSE))
            found = _longest_match(listing, host)
        if found is None:
            raise _absence(listing, host)
        return found

    @property
    def names(self) -> FrozenSet[str]:
        """The zones as listed last."""
        listing = self._listing
        return frozenset(listing.apexes if listing is not None else ())

    def forget(self) -> None:
        """Drop the list: a zone in it turned out to be gone."""
        with self._lock:
            self._listing = None

    def _listed(self, deadline: Deadline, max_age: float) -> _Listing:
        with self._lock:
            known = self._listing
            now = self._clock()
            if known is not None and (now - known.at < max_age or now < self._retry_at):
                return known
            try:
                self._listing = self._list(deadline)
            except TransientError:
                if known is None:
                    raise
                # Stale, but good enough for a while: whoever comes next mustn't wait for it again.
                self._retry_at = self._clock() + _MISS_PAUSE
                self._listing = known
            return self._listing

    def _list(self, deadline: Deadline) -> _Listing:
        apexes: Dict[str, Location] = {}
        failures = []
        for hetzner in self._projects:
            try:
                zones = hetzner.zones(deadline)
            except TransientError:
                raise
            except DyndnsError as error:
                failures.append(error)  # one bad token must not take the others' zones away
                continue
            for zone in zones:
                apexes.setdefault(zone.name, Location(hetzner, Owner(zone, "@")))
        return _Listing(apexes, failures, self._clock())


def _longest_match(listing: _Listing, host: Hostname) -> Optional[Location]:
    labels = host.text.split(".")
    for cut in range(len(labels)):
        apex = listing.apexes.get(".".join(labels[cut:]))
        if apex is not None:
            name = ".".join(labels[:cut]) or "@"
            return Location(apex.hetzner, Owner(apex.owner.zone, name))
    return None


def _absence(listing: _Listing, host: Hostname) -> DyndnsError:
    if listing.failures:
        return listing.failures[0]
    return ZoneNotFound(
        f"No zone for {host} in any project of HETZNER_TOKEN: create the zone at "
        "console.hetzner.com, or add a token of the project that holds it."
    )
