"""Validation of request bodies: collects all errors of a body."""

from __future__ import annotations

import re
from typing import Any, Mapping

from sandbox.rdata import canonical
from sandbox.refusal import invalid
from sandbox.zone import Record, RRSet

TYPES = (
    "A",
    "AAAA",
    "CAA",
    "CNAME",
    "DS",
    "HINFO",
    "HTTPS",
    "MX",
    "NS",
    "PTR",
    "RP",
    "SOA",
    "SRV",
    "SVCB",
    "TLSA",
    "TXT",
)
TTL = range(60, 2**31)
MOST_RECORDS = 50
_ONE_RECORD_ONLY = ("CNAME", "SOA")
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(\*|{_LABEL})(\.{_LABEL})*")
_ZONE = re.compile(rf"{_LABEL}(\.{_LABEL})+")
_WORD = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_KEY = re.compile(rf"([a-z0-9]([a-z0-9.-]{{0,251}}[a-z0-9])?/)?{_WORD}")
_WORDS = {
    bool: "true or false",
    dict: "an object",
    int: "an integer",
    list: "a list",
    str: "a string",
}
# A substitute for the public suffix list: second levels with registrations under country codes.
_SECOND_LEVELS = ("ac", "co", "com", "edu", "gov", "ne", "net", "or", "org")
_LONGEST_NAME = 253


class Input:
    """One JSON object of a request. Its methods collect errors; `check` raises them."""

    def __init__(self, body: Mapping[str, object], *known: str, path: str = "") -> None:
        self._body = body
        self._path = path
        self.faults: dict[str, list[str]] = {}
        for field in body:
            if known and field not in known:
                self.fault(field, "unknown field")

    def fault(self, field: str, message: str) -> None:
        """Add an error for a field."""
        self.faults.setdefault(self._path + field, []).append(message)

    def check(self) -> None:
        """Raise ApiError if there are errors."""
        if self.faults:
            raise invalid(self.faults)

    def has(self, field: str) -> bool:
        """Return whether the field was sent, also as null."""
        return field in self._body

    def read(self, field: str, kind: type, default: object = ...) -> Any:  # noqa: ANN401
        """Return a field of this type. Null counts as absent; without a default, that's a fault."""
        value = self._body.get(field)
        if value is None:
            if default is ...:
                self.fault(field, "missing")
            return kind() if default is ... else default
        # type() instead of isinstance: in JSON, true isn't a number.
        if type(value) is not kind:
            self.fault(field, f"must be {_WORDS[kind]}")
            return kind()
        return value

    def objects(self, field: str, *known: str, default: object = ...) -> list[Input]:
        """Return the objects of a list; their errors are added to this input."""
        inputs = []
        for place, item in enumerate(self.read(field, list, default)):
            inner = f"{self._path}{field}[{place}]"
            if not isinstance(item, dict):
                self.faults[inner] = ["must be an object"]
                continue
            part = Input(item, *known, path=f"{inner}.")
            self.faults.update(part.faults)
            part.faults = self.faults
            inputs.append(part)
        return inputs

    def ttl(self, field: str = "ttl", default: object = ...) -> Any:  # noqa: ANN401
        """Return a TTL in seconds."""
        known = len(self.faults)
        ttl = self.read(field, int, default)
        if ttl is not None and ttl not in TTL and len(self.faults) == known:
            self.fault(field, f"must be between {TTL[0]} and {TTL[-1]}")
        return ttl

    def choice(self, field: str, options: tuple[str, ...]) -> str:
        """Return a field that has one of these values."""
        word: str = self.read(field, str)
        if word not in options and self._path + field not in self.faults:
            self.fault(field, f"must be one of {', '.join(options)}")
        return word

    def labels(self, default: object = ...) -> dict[str, str]:
        labels: dict[str, str] = self.read("labels", dict, default)
        for key, value in labels.items():
            if not _KEY.fullmatch(key) or key.startswith("hetzner.cloud/"):
                self.fault("labels", f"'{key}' is not a valid label key")
            if not isinstance(value, str) or (value and not re.fullmatch(_WORD, value)):
                self.fault("labels", f"the value of '{key}' is not a valid label value")
        return labels

    def name(self, zone: str) -> str:
        """Return the name of an RRSet, relative to its zone."""
        name: str = self.read("name", str)
        if self._path + "name" not in self.faults:
            for message in name_faults(name, zone):
                self.fault("name", message)
        return name

    def records(self, kind: str, comment: object = "") -> tuple[Record, ...]:
        """Return the records of an RRSet, with values in stored form."""
        parts = self.objects("records", "value", "comment")
        records = tuple(_record(part, kind, comment) for part in parts)
        if "records" in self._body and not 0 < len(records) <= MOST_RECORDS:
            self.fault("records", f"must contain 1 to {MOST_RECORDS} records")
        if len({record.value for record in records}) < len(records):
            self.fault("records", "must be distinct")
        if kind in _ONE_RECORD_ONLY and len(records) > 1:
            self.fault("records", f"{kind} can have only one record")
        return records

    def rrset(self, zone: str) -> RRSet:
        """Return a complete RRSet."""
        name = self.name(zone)
        kind = self.choice("type", TYPES)
        return RRSet(name, kind, self.records(kind), self.ttl(default=None), self.labels({}))


def zone_faults(name: str) -> list[str]:
    """Return what is wrong with the name of a new zone."""
    faults = []
    if name != name.lower():
        faults.append("must be lower case")
    if name.endswith("."):
        faults.append("must not end with a dot")
    if not faults and (not _ZONE.fullmatch(name) or len(name) > _LONGEST_NAME):
        faults.append("must be a domain name")
    *sub, second, top = name.split(".") if "." in name else ("", name)
    registrable = not sub or (len(sub) == 1 and second in _SECOND_LEVELS and len(top) == len("uk"))
    if not faults and not registrable:
        faults.append("must be one label and a public suffix: sub-zones are not supported")
    return faults


def name_faults(name: str, zone: str) -> list[str]:
    """Return what is wrong with the name of an RRSet, relative to its zone."""
    faults = []
    if name != name.lower():
        faults.append("must be lower case")
    if name.endswith("."):
        faults.append("must not end with a dot")
    if name.lower().rstrip(".") == zone or name.lower().rstrip(".").endswith("." + zone):
        faults.append("must not end with the zone name")
    if faults or name == "@":
        return faults
    if not _NAME.fullmatch(name) or len(name) + len(zone) >= _LONGEST_NAME:
        faults.append("must be a name in ASCII (punycode), '@' or a wildcard")
    return faults


def _record(part: Input, kind: str, comment: object) -> Record:
    value: str = part.read("value", str)
    try:
        value = canonical(kind, value) if kind in TYPES and value else value
    except ValueError:
        part.fault("value", f"is not a value of type {kind}")
    if not value:
        part.fault("value", "must not be empty")
    return Record(value, part.read("comment", str, comment))
