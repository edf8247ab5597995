"""Zones, RRSets and records as immutable values; a change returns a new zone or raises ApiError."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from dataclasses import dataclass, field
from typing import Callable, Iterable, Mapping

from sandbox.refusal import ApiError, invalid, not_found, protected, taken
from sandbox.shelves import Key, Shelves

NAMESERVERS = ("hydrogen.ns.hetzner.com.", "oxygen.ns.hetzner.com.", "helium.ns.hetzner.de.")
SOA = ("@", "SOA")
NS = ("@", "NS")


@dataclass(frozen=True)
class Record:
    """One value of an RRSet. Records have no ids; the value identifies a record."""

    value: str
    comment: str = ""


@dataclass(frozen=True)
class RRSet:
    """All records of one name and type; a `ttl` of None means the zone's."""

    name: str
    type: str
    records: tuple[Record, ...]
    ttl: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    protected: bool = False
    # Later RRSets have higher numbers; a change keeps the number.
    number: int = field(default_factory=itertools.count().__next__, compare=False)

    @property
    def key(self) -> Key:
        """Name and type, which identify the RRSet in its zone."""
        return (self.name, self.type)

    @property
    def values(self) -> tuple[str, ...]:
        """The records without their comments."""
        return tuple(record.value for record in self.records)


@dataclass(frozen=True)
class Zone:
    """An immutable snapshot of a zone."""

    name: str
    mode: str = "primary"
    ttl: int = 3600
    labels: Mapping[str, str] = field(default_factory=dict)
    protected: bool = False
    primary_nameservers: tuple[Mapping[str, object], ...] = ()
    rrsets: Shelves[RRSet] = field(default_factory=Shelves)
    id: int = 0
    created: float = 0.0
    project: str | None = None
    delegation: str = "unknown"
    # Set through the control API; None follows the actions.
    status: str | None = None

    @property
    def record_count(self) -> int:
        """The number of resource records, including SOA and NS."""
        return sum(len(rrset.records) for rrset in self.rrsets.values())

    def get(self, key: Key) -> RRSet:
        """Return the RRSet or raise 404."""
        if key not in self.rrsets:
            raise not_found("RRSet")
        return self.rrsets[key]

    def require(self, mode: str) -> Zone:
        """Return the zone if it has this mode, or raise 422."""
        if self.mode != mode:
            message = f"this operation is not supported for zones in {self.mode} mode"
            raise ApiError(422, message, code="incorrect_zone_mode")
        return self

    def put(self, *rrsets: RRSet) -> Zone:
        """Return the zone with these RRSets added or replaced."""
        shelves = functools.reduce(lambda all_, one: all_.put(one.key, one), rrsets, self.rrsets)
        return dataclasses.replace(self, rrsets=shelves)

    def create(self, *rrsets: RRSet) -> Zone:
        """Return the zone with new RRSets; the same key or a CNAME conflict is an error."""
        return functools.reduce(Zone._create, rrsets, self)

    def _create(self, rrset: RRSet) -> Zone:
        if rrset.key in self.rrsets:
            raise taken("name", f"RRSet '{rrset.name}/{rrset.type}' already exists")
        types = {other.type for other in self.rrsets.at(rrset.name)}
        if types and "CNAME" in {rrset.type, *types}:
            there = ", ".join(sorted(types))
            message = f"'{rrset.name}' has {there}: CNAME can't share a name with another type"
            raise invalid({"type": [message]})
        return self.put(rrset)

    def delete(self, key: Key) -> Zone:
        """Return the zone without this RRSet."""
        self._changeable(key)
        if key in (SOA, NS):
            raise invalid({"type": [f"a zone must have {key[1]} records"]})
        return dataclasses.replace(self, rrsets=self.rrsets.remove(key))

    def label(self, key: Key, labels: Mapping[str, str]) -> Zone:
        """Replace the labels of an RRSet; protection doesn't cover labels."""
        return self.put(dataclasses.replace(self.get(key), labels=labels))

    def protect(self, key: Key, *, on: bool) -> Zone:
        """Turn the change protection of an RRSet on or off."""
        return self.put(dataclasses.replace(self.get(key), protected=on))

    def set_ttl(self, key: Key, ttl: int | None) -> Zone:
        """Change the TTL of an RRSet, in seconds."""
        return self.put(dataclasses.replace(self._changeable(key), ttl=ttl))

    def set_records(self, key: Key, records: tuple[Record, ...]) -> Zone:
        """Replace values and comments of an existing RRSet."""
        return self.put(dataclasses.replace(self._changeable(key), records=records))

    def add_records(self, key: Key, records: tuple[Record, ...], ttl: int | None) -> Zone:
        """Add records; create the RRSet if necessary, never change its TTL."""
        if key not in self.rrsets:
            return self.create(RRSet(key[0], key[1], records, ttl))
        rrset = self._changeable(key)
        if ttl not in (None, rrset.ttl):
            raise invalid({"ttl": [f"RRSet '{key[0]}/{key[1]}' has differing record TTLs"]})
        for place, record in enumerate(records, start=len(rrset.records)):
            if record.value in rrset.values:
                message = f"duplicate value '{record.value}'"
                raise invalid({f"records[0].records[{place}].value": [message]}, message)
        return self.set_records(key, rrset.records + records)

    def remove_records(self, key: Key, records: tuple[Record, ...]) -> Zone:
        """Remove records by value; remove an empty RRSet."""
        rrset = self._changeable(key)
        gone = _known(rrset, records)
        left = tuple(record for record in rrset.records if record.value not in gone)
        return self.set_records(key, left) if left else self.delete(key)

    def comment(self, key: Key, records: tuple[Record, ...]) -> Zone:
        """Change the comments of the records with these values."""
        rrset = self._changeable(key)
        _known(rrset, records)
        comments = {record.value: record for record in records}
        return self.set_records(key, tuple(comments.get(r.value, r) for r in rrset.records))

    def replace_rrsets(self, rrsets: Iterable[RRSet], ttl: int) -> Zone:
        """Replace all RRSets and the default TTL."""
        if any(rrset.protected for rrset in self.rrsets.values()):
            raise protected("RRSet(s) is/are change protected")
        return dataclasses.replace(self, rrsets=Shelves(), ttl=ttl).create(*rrsets)

    def next_serial(self) -> Zone:
        """Increment the serial of the SOA, by which secondaries notice a change."""
        if SOA not in self.rrsets:
            return self
        rrset = self.rrsets[SOA]
        words = rrset.values[0].split()
        words[2] = str((int(words[2]) + 1) % 2**32)
        return self.put(dataclasses.replace(rrset, records=(Record(" ".join(words)),)))

    def _changeable(self, key: Key) -> RRSet:
        rrset = self.get(key)
        if rrset.protected:
            raise protected("RRSet(s) is/are change protected")
        return rrset


Edit = Callable[[Zone], Zone]


def fresh(zone: Zone) -> Zone:
    """Add the SOA and NS records that Hetzner adds to every new primary zone."""
    if zone.mode != "primary":
        return zone
    soa = f"{NAMESERVERS[0]} dns.hetzner.com. 2026010100 86400 10800 3600000 3600"
    nameservers = tuple(Record(name) for name in NAMESERVERS)
    defaults = Zone(zone.name).put(RRSet(*SOA, (Record(soa),)), RRSet(*NS, nameservers))
    return dataclasses.replace(zone, rrsets=defaults.put(*zone.rrsets.values()).rrsets)


def _known(rrset: RRSet, records: tuple[Record, ...]) -> tuple[str, ...]:
    for place, record in enumerate(records):
        if record.value not in rrset.values:
            raise invalid({f"records[{place}].value": [f"no record has '{record.value}'"]})
    return tuple(record.value for record in records)
