"""The published zones as real DNS: the answers of an authoritative name server."""

from __future__ import annotations

from typing import Any, Mapping, NamedTuple

import dnslib

from sandbox.rdata import record
from sandbox.zone import SOA, RRSet, Zone

Published = Mapping[str, Zone]

_LONGEST_CHAIN = 8
_TRANSFERS = ("AXFR", "IXFR")
_UDP_BYTES = 512
# Fits into every network without fragmentation.
_MOST_UDP_BYTES = 1232


class Found(NamedTuple):
    """The RRSets of an answer, each with its owner and zone, and the response code."""

    rcode: str
    answers: list[tuple[str, Zone, RRSet]]
    zone: Zone | None = None


def look_up(published: Published, name: str, kind: str) -> Found:
    """Return the records of a name (lower case, no final dot), following CNAMEs in our zones."""
    found: list[tuple[str, Zone, RRSet]] = []
    for _ in range(_LONGEST_CHAIN):
        zone = _zone_of(published, name)
        if zone is None:
            return Found("NOERROR" if found else "REFUSED", found)
        owner = _owner(zone, _relative(name, zone))
        if owner is None:
            return Found("NXDOMAIN", found, zone)
        here = zone.rrsets.at(owner)
        matching = [rrset for rrset in here if kind in (rrset.type, "ANY")]
        if matching:
            return Found("NOERROR", found + [(name, zone, rrset) for rrset in matching])
        alias = next((rrset for rrset in here if rrset.type == "CNAME"), None)
        if alias is None:
            return Found("NOERROR", found, zone)
        found.append((name, zone, alias))
        name = _absolute(alias.values[0], zone)
    return Found("SERVFAIL", found)


def reply(published: Published, request: Any) -> Any:  # noqa: ANN401
    """Return the complete answer (dnslib.DNSRecord) to a question."""
    answer = request.reply(ra=0, aa=0)
    # Only a resolver that has verified signatures may set AD; dnslib copies it from the question.
    answer.header.ad = 0
    if request.header.opcode != dnslib.OPCODE.QUERY or len(request.questions) != 1:
        answer.header.rcode = dnslib.RCODE.NOTIMP
        return answer
    if request.q.qclass != dnslib.CLASS.IN or _kind(request.q) in _TRANSFERS:
        answer.header.rcode = dnslib.RCODE.REFUSED
        return answer
    asked = str(request.q.qname)
    found = look_up(published, asked.lower().rstrip("."), _kind(request.q))
    answer.header.rcode = getattr(dnslib.RCODE, found.rcode)
    answer.header.aa = int(found.rcode not in ("REFUSED", "SERVFAIL"))
    for owner, zone, rrset in found.answers:
        # Keep the spelling of the question.
        spelt = asked if owner == asked.lower().rstrip(".") else owner
        answer.add_answer(*_resource_records(spelt, zone, rrset))
    if found.zone:
        answer.add_auth(_denial(found.zone))
    if any(extra.rtype == dnslib.QTYPE.OPT for extra in request.ar):
        answer.add_ar(dnslib.EDNS0(udp_len=_MOST_UDP_BYTES))
    return answer


def answer_bytes(published: Published, packet: bytes, *, udp: bool) -> bytes:
    """Return the answer to a packet, truncated for UDP if necessary; b"" if it isn't a question."""
    try:
        request = dnslib.DNSRecord.parse(packet)
    except (dnslib.DNSError, ValueError, IndexError):
        return b""
    if request.header.qr:
        return b""
    answer = reply(published, request)
    packed = bytes(answer.pack())
    if udp and len(packed) > _bytes_borne(request):
        packed = bytes(answer.truncate().pack())
    return packed


def strings(published: Published, name: str, kind: str) -> list[str]:
    """Return the values in the answer as text, sorted: for A and AAAA the addresses."""
    found = look_up(published, name.lower().rstrip("."), kind)
    return sorted(value for _, _, rrset in found.answers for value in rrset.values)


def _zone_of(published: Published, name: str) -> Zone | None:
    labels = name.split(".")
    for cut in range(len(labels)):
        zone = published.get(".".join(labels[cut:]))
        if zone and SOA in zone.rrsets:
            return zone
    return None


def _relative(name: str, zone: Zone) -> str:
    return "@" if name == zone.name else name[: -len(zone.name) - 1]


def _absolute(target: str, zone: Zone) -> str:
    if target == "@":
        return zone.name
    return (target if target.endswith(".") else f"{target}.{zone.name}").lower().rstrip(".")


def _owner(zone: Zone, name: str) -> str | None:
    """Return the owner of the records for a name: itself or the nearest wildcard (RFC 4592)."""
    if _exists(zone, name):
        return name
    parent = name.partition(".")[2]
    while parent and not _exists(zone, parent):
        parent = parent.partition(".")[2]
    wildcard = f"*.{parent}" if parent else "*"
    return wildcard if zone.rrsets.at(wildcard) else None


def _exists(zone: Zone, name: str) -> bool:
    below = f".{name}"
    return bool(zone.rrsets.at(name)) or any(other.endswith(below) for other in zone.rrsets.names())


def _kind(question: Any) -> str:  # noqa: ANN401
    return str(dnslib.QTYPE.get(question.qtype, question.qtype))


def _resource_records(owner: str, zone: Zone, rrset: RRSet) -> list[Any]:
    ttl = zone.ttl if rrset.ttl is None else rrset.ttl
    return [
        record(rrset.type, value, owner=owner, origin=zone.name, ttl=ttl) for value in rrset.values
    ]


def _denial(zone: Zone) -> Any:  # noqa: ANN401
    """Return the SOA that sets how long a negative answer may be cached (RFC 2308)."""
    (soa,) = _resource_records(zone.name, zone, zone.rrsets[SOA])
    soa.ttl = min(soa.ttl, soa.rdata.times[4])
    return soa


def _bytes_borne(request: Any) -> int:  # noqa: ANN401
    offered = [extra.edns_len for extra in request.ar if extra.rtype == dnslib.QTYPE.OPT]
    return max(_UDP_BYTES, min(_MOST_UDP_BYTES, *offered)) if offered else _UDP_BYTES
