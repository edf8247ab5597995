"""What a zone at Hetzner holds: its RRSets, and where a host's are.

Facts: https://docs.hetzner.cloud/cloud.spec.json
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any, FrozenSet, Mapping, Optional, Tuple, Union
from urllib.parse import quote

from backend.hetzner.answers import text_of
from backend.model import Address, RecordType

IP = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


@dataclass(frozen=True)
class Zone:
    """A zone of one project."""

    name: str
    mode: str


@dataclass(frozen=True)
class Owner:
    """An owner name: where the records of a host are."""

    zone: Zone
    name: str  # relative to the zone, ``@`` for the apex

    @property
    def rrsets(self) -> str:
        """The path of the zone's RRSets; the API takes the zone's name for its id."""
        return f"/zones/{quote(self.zone.name)}/rrsets"

    def rrset(self, kind: RecordType) -> str:
        """Return the path of one RRSet."""
        return f"{self.rrsets}/{quote(self.name, safe='@*')}/{kind.value}"


@dataclass(frozen=True)
class RRSet:
    """The addresses at one name, of one family."""

    values: Tuple[str, ...]
    comments: Tuple[str, ...]
    ttl: Optional[int]

    @property
    def addresses(self) -> FrozenSet[Union[IP, str]]:
        """The values as addresses: how Hetzner spells an IPv6 address isn't promised."""
        return frozenset(_ip_or_text(value) for value in self.values)

    @property
    def comment(self) -> str:
        """The first comment somebody left on a record."""
        return next((comment for comment in self.comments if comment), "")

    def holds(self, address: Address) -> bool:
        """Whether this address, and no other, is published."""
        return self.addresses == {address.ip}

    def __str__(self) -> str:
        return ", ".join(sorted(self.values))


def read_rrset(found: Mapping[str, Any]) -> RRSet:
    """Make an RRSet of the API's JSON; raise `KeyError` or `TypeError` if it is none."""
    records = found["records"]
    return RRSet(
        values=tuple(text_of(record["value"]) for record in records),
        comments=tuple(text_of(record.get("comment") or "") for record in records),
        ttl=found["ttl"],
    )


def _ip_or_text(value: str) -> Union[IP, str]:
    try:
        return ipaddress.ip_address(value)
    except ValueError:
        return value
