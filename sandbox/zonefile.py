"""Exports and imports BIND zone files; as at Hetzner, only the export has comments."""

from __future__ import annotations

import re
import shlex
from typing import Iterator

from sandbox.rdata import canonical
from sandbox.refusal import invalid
from sandbox.shelves import Key
from sandbox.validation import TTL, TYPES, name_faults
from sandbox.zone import NAMESERVERS, NS, SOA, Record, RRSet, Zone


def export(zone: Zone) -> str:
    """Return the zone file."""
    lines = [f"$ORIGIN\t{zone.name}.", f"$TTL\t{zone.ttl}", ""]
    for rrset in sorted(zone.rrsets.listed, key=lambda rrset: (rrset.key != SOA, rrset.key)):
        ttl = "" if rrset.ttl is None else f"{rrset.ttl}\t"
        for record in rrset.records:
            comment = f" ; {record.comment}" if record.comment else ""
            lines.append(f"{rrset.name}\tIN\t{ttl}{rrset.type}\t{record.value}{comment}")
    return "\n".join(lines) + "\n"


def parse(text: str, zone: Zone) -> tuple[int, list[RRSet]]:
    """Return the default TTL and all RRSets of a zone file; an error names the line."""
    reading = _Reading(zone)
    for number, words in _logical_lines(text):
        reading.line(number, words)
    return reading.default, list(reading.rrsets.values())


def parse_complete(text: str, zone: Zone) -> tuple[int, list[RRSet]]:
    """Parse a zone file that must have the SOA and the assigned name servers."""
    ttl, rrsets = parse(text, zone)
    values = {rrset.key: rrset.values for rrset in rrsets}
    if SOA not in values:
        raise invalid({"zonefile": ["has no SOA record"]})
    if not set(NAMESERVERS) <= set(values.get(NS, ())):
        raise invalid({"zonefile": ["lacks the assigned nameservers"]})
    return ttl, rrsets


class _Reading:
    """The state of the parser: the RRSets so far, and defaults for the next line."""

    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        self.default = zone.ttl
        self.origin = zone.name
        self.owner = "@"
        self.rrsets: dict[Key, RRSet] = {}

    def line(self, number: int, words: list[str]) -> None:
        try:
            self._line(words)
        except (ValueError, IndexError) as error:
            raise invalid({"zonefile": [f"line {number}: {error}"]}) from error

    def _line(self, words: list[str]) -> None:
        if words[0] == "$ORIGIN":
            self.origin = words[1].rstrip(".")
        elif words[0] == "$TTL":
            self.default = _seconds(words[1])
        else:
            self._record(words)

    def _record(self, words: list[str]) -> None:
        if words[0]:
            self.owner = self._relative(words[0].lower())
        rest = words[1:]
        ttl: int | None = None
        while rest[0].upper() == "IN" or rest[0].isdigit():
            word = rest.pop(0)
            ttl = _seconds(word) if word.isdigit() else ttl
        kind, value = rest[0].upper(), " ".join(rest[1:])
        if kind not in TYPES:
            raise ValueError(f"unknown type {kind}")
        faults = name_faults(self.owner, self.zone.name)
        if faults:
            raise ValueError(f"{self.owner} {faults[0]}")
        before = self.rrsets.get((self.owner, kind))
        values = (*(before.values if before else ()), canonical(kind, value))
        if len(set(values)) < len(values):
            raise ValueError(f"duplicate value {value}")
        records = tuple(Record(value) for value in values)
        self.rrsets[self.owner, kind] = RRSet(self.owner, kind, records, ttl)

    def _relative(self, name: str) -> str:
        absolute = name.rstrip(".") if name.endswith(".") else f"{name}.{self.origin}"
        absolute = self.origin if name == "@" else absolute
        if absolute == self.zone.name:
            return "@"
        if not absolute.endswith(f".{self.zone.name}"):
            raise ValueError(f"{absolute} is not in the zone")
        return absolute[: -len(f".{self.zone.name}")]


def _seconds(word: str) -> int:
    if not word.isdigit() or int(word) not in TTL:
        raise ValueError(f"a TTL must be between {TTL[0]} and {TTL[-1]}")
    return int(word)


def _logical_lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the words of each line; a line that begins with a blank has an empty first word."""
    words: list[str] = []
    depth = 0
    for number, line in enumerate(text.splitlines(), start=1):
        found = _words(number, line)
        if not depth:
            words = [""] if re.match(r"\s", line) else []
        # A "word" may consist of several parentheses; quoted ones still have their quotes.
        parentheses = "".join(word for word in found if not word.strip("()"))
        depth += parentheses.count("(") - parentheses.count(")")
        words += [word for word in found if word.strip("()")]
        if not depth and any(words):
            yield number, words


def _words(number: int, line: str) -> list[str]:
    lexer = shlex.shlex(line, posix=False, punctuation_chars="()")
    lexer.whitespace_split = True
    lexer.commenters = ";"
    try:
        return list(lexer)
    except ValueError as error:
        raise invalid({"zonefile": [f"line {number}: {error}"]}) from error
