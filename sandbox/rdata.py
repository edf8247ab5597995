"""Parses the text of a record into DNS data."""

from __future__ import annotations

import ipaddress
import struct
from typing import Any

import dnslib

# Types that dnslib lacks, with a type that has the same wire format.
_SAME_BYTES = {"SVCB": "HTTPS", "HINFO": "TXT"}
# Number of words for types where dnslib silently ignores additional words.
_WORDS = {"CNAME": 1, "NS": 1, "PTR": 1, "MX": 2, "RP": 2, "SRV": 4, "SOA": 7}
_PRINTABLE = range(0x20, 0x7F)


def canonical(kind: str, value: str) -> str:
    """Return the text in stored form, addresses in short form; ValueError if it is invalid."""
    if kind == "A":
        return str(ipaddress.IPv4Address(value))
    if kind == "AAAA":
        if "%" in value:
            raise ValueError("an address in DNS can't have a zone index")
        return str(ipaddress.IPv6Address(value))
    if any(ord(character) not in _PRINTABLE for character in value):
        raise ValueError("only printable ASCII")
    if kind == "TXT" and not (value.startswith('"') and value.endswith('"')):
        raise ValueError("TXT needs its text in double quotes")
    if len(value.split()) != _WORDS.get(kind, len(value.split())):
        raise ValueError(f"{kind} needs {_WORDS[kind]} word(s)")
    record(kind, value, owner="@", origin="example.com", ttl=60)
    return value


def record(kind: str, value: str, *, owner: str, origin: str, ttl: int) -> Any:  # noqa: ANN401
    """Return the resource record (a dnslib.RR); names without a final dot are below `origin`."""
    if kind in _WORDS:
        # dnslib supports `@` only as the owner of a record.
        value = " ".join(f"{origin}." if word == "@" else word for word in value.split())
    line = f"@ {ttl} IN {_SAME_BYTES.get(kind, kind)} {value}"
    try:
        (parsed,) = dnslib.RR.fromZone(line, origin=origin)
        parsed.pack(dnslib.DNSBuffer())
    except (AttributeError, IndexError, TypeError, struct.error, dnslib.DNSError) as error:
        # dnslib raises these errors for missing or invalid parts.
        raise ValueError(f"not a value of type {kind}") from error
    parsed.rname = dnslib.DNSLabel(owner)
    parsed.rtype = getattr(dnslib.QTYPE, kind)
    return parsed
