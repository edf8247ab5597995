"""Turns a record's text into DNS data, and thereby tells whether the text means anything."""

from __future__ import annotations

import ipaddress
import struct
from typing import Any

import dnslib

# dnslib lacks these two, but their bytes are those of a type it knows.
_SAME_BYTES = {"SVCB": "HTTPS", "HINFO": "TXT"}
# How many words the types have that dnslib would silently take too many of.
_WORDS = {"CNAME": 1, "NS": 1, "PTR": 1, "MX": 2, "RP": 2, "SRV": 4, "SOA": 7}
_PRINTABLE = range(0x20, 0x7F)


def canonical(kind: str, value: str) -> str:
    """The text as it is stored, addresses in their shortest form; ValueError if it is no value."""
    if kind == "A":
        return str(ipaddress.IPv4Address(value))
    if kind == "AAAA":
        if "%" in value:
            raise ValueError("an address in DNS has no interface")
        return str(ipaddress.IPv6Address(value))
    if any(ord(character) not in _PRINTABLE for character in value):
        raise ValueError("only printable ASCII")
    if kind == "TXT" and not (value.startswith('"') and value.endswith('"')):
        raise ValueError("TXT wants its text in double quotes")
    if len(value.split()) != _WORDS.get(kind, len(value.split())):
        raise ValueError(f"{kind} wants {_WORDS[kind]} word(s)")
    record(kind, value, owner="@", origin="example.com", ttl=60)
    return value


def record(kind: str, value: str, *, owner: str, origin: str, ttl: int) -> Any:  # noqa: ANN401
    """The resource record (a dnslib.RR); names without a final dot are below `origin`."""
    if kind in _WORDS:
        # dnslib knows the zone's own name in front of a record only.
        value = " ".join(f"{origin}." if word == "@" else word for word in value.split())
    line = f"@ {ttl} IN {_SAME_BYTES.get(kind, kind)} {value}"
    try:
        (parsed,) = dnslib.RR.fromZone(line, origin=origin)
        parsed.pack(dnslib.DNSBuffer())
    except (AttributeError, IndexError, TypeError, struct.error, dnslib.DNSError) as error:
        # dnslib reads hopefully and stumbles over whatever is missing.
        raise ValueError(f"not a value of type {kind}") from error
    parsed.rname = dnslib.DNSLabel(owner)
    parsed.rtype = getattr(dnslib.QTYPE, kind)
    return parsed
