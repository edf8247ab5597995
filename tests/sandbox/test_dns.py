"""The sandbox's zones as DNS over real sockets."""

from __future__ import annotations

import socket
import struct
from typing import Iterator

import pytest
from dnslib import EDNS0, OPCODE, QTYPE, RCODE, DNSRecord
from hypothesis import given, settings, strategies as st

from sandbox import Sandbox
from sandbox.dns import answer_bytes
from sandbox.zone import Record, RRSet, Zone, fresh

RECORDS = (
    ("example.com", "A", "192.0.2.80"),
    ("home.example.com", "A", "192.0.2.1"),
    ("home.example.com", "AAAA", "2001:db8::1"),
    ("www.example.com", "CNAME", "home"),
    ("away.example.com", "CNAME", "www.example.net."),
    ("dangling.example.com", "CNAME", "none"),
    ("loop.example.com", "CNAME", "loop"),
    ("apex.example.com", "CNAME", "@"),
    ("*.dyn.example.com", "A", "192.0.2.7"),
    ("fixed.dyn.example.com", "AAAA", "2001:db8::7"),
    ("a.b.dyn.example.com", "TXT", '"text"'),
    ("mail.example.com", "MX", "10 home"),
    ("info.example.com", "HINFO", '"ARM64" "Linux"'),
    ("bound.example.com", "SVCB", "1 . alpn=h2"),
)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(zones=["example.com", "sub.example.com"]) as sandbox:
        for name, kind, value in RECORDS:
            sandbox.publish(name, kind, value, ttl=60)
        sandbox.publish("big.example.com", "TXT", *(f'"{"x" * 200}{n}"' for n in range(50)))
        yield sandbox


def ask(sandbox: Sandbox, name: str, kind: str = "A", *, tcp: bool = False) -> DNSRecord:
    question = DNSRecord.question(name, kind)
    return DNSRecord.parse(question.send("127.0.0.1", sandbox.dns_port, tcp=tcp, timeout=20))


def summary(answer: DNSRecord) -> tuple[str, list[str]]:
    return RCODE[answer.header.rcode], sorted(str(rr.rdata) for rr in answer.rr)


@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("home.example.com", "A", ("NOERROR", ["192.0.2.1"])),
        ("home.example.com", "AAAA", ("NOERROR", ["2001:db8::1"])),
        ("home.example.com", "ANY", ("NOERROR", ["192.0.2.1", "2001:db8::1"])),
        ("HOME.Example.COM", "A", ("NOERROR", ["192.0.2.1"])),
        ("home.example.com", "TXT", ("NOERROR", [])),
        ("none.example.com", "A", ("NXDOMAIN", [])),
        ("dyn.example.com", "A", ("NOERROR", [])),
        ("example.com", "A", ("NOERROR", ["192.0.2.80"])),
        ("example.net", "A", ("REFUSED", [])),
        ("com", "NS", ("REFUSED", [])),
        (".", "NS", ("REFUSED", [])),
        ("www.example.com", "A", ("NOERROR", ["192.0.2.1", "home.example.com."])),
        ("www.example.com", "CNAME", ("NOERROR", ["home.example.com."])),
        ("www.example.com", "TXT", ("NOERROR", ["home.example.com."])),
        ("apex.example.com", "A", ("NOERROR", ["192.0.2.80", "example.com."])),
        ("away.example.com", "A", ("NOERROR", ["www.example.net."])),
        ("dangling.example.com", "A", ("NXDOMAIN", ["none.example.com."])),
        ("x.dyn.example.com", "A", ("NOERROR", ["192.0.2.7"])),
        ("x.y.dyn.example.com", "A", ("NOERROR", ["192.0.2.7"])),
        ("x.dyn.example.com", "AAAA", ("NOERROR", [])),
        ("fixed.dyn.example.com", "A", ("NOERROR", [])),
        ("b.dyn.example.com", "A", ("NOERROR", [])),
        ("x.b.dyn.example.com", "A", ("NXDOMAIN", [])),
        ("mail.example.com", "MX", ("NOERROR", ["10 home.example.com."])),
        ("home.sub.example.com", "A", ("NXDOMAIN", [])),
    ],
)
def test_every_name_has_its_answer(
    sandbox: Sandbox, name: str, kind: str, expected: tuple[str, list[str]], tcp: bool
) -> None:
    answer = ask(sandbox, name, kind, tcp=tcp)
    assert summary(answer) == expected
    assert answer.header.aa == (0 if expected[0] == "REFUSED" else 1)
    assert answer.header.ra == 0


def test_types_unknown_to_dnslib_are_served(sandbox: Sandbox) -> None:
    for name, kind in (("info.example.com", "HINFO"), ("bound.example.com", "SVCB")):
        assert [QTYPE[rr.rtype] for rr in ask(sandbox, name, kind).rr] == [kind]


def test_a_cname_that_leads_to_itself_ends() -> None:
    zone = fresh(Zone(name="example.com")).create(RRSet("loop", "CNAME", (Record("loop"),)))
    question = DNSRecord.question("loop.example.com")
    answer = DNSRecord.parse(answer_bytes({"example.com": zone}, question.pack(), udp=False))
    assert RCODE[answer.header.rcode] == "SERVFAIL"


def test_soa_and_ns_are_served_and_denials_carry_the_soa(sandbox: Sandbox) -> None:
    assert len(ask(sandbox, "example.com", "NS").rr) == 3
    soa = ask(sandbox, "example.com", "SOA").rr[0]
    for name, kind in (("none.example.com", "A"), ("home.example.com", "TXT")):
        (denial,) = ask(sandbox, name, kind).auth
        assert (str(denial.rname), denial.rdata) == ("example.com.", soa.rdata)
    assert ask(sandbox, "home.example.com").auth == []
    assert str(ask(sandbox, "x.sub.example.com").auth[0].rname) == "sub.example.com."


@pytest.mark.parametrize(("zone_ttl", "denial_ttl"), [(7200, 3600), (60, 60)])
def test_a_denial_lasts_at_most_as_the_soa_allows(zone_ttl: int, denial_ttl: int) -> None:
    published = {"example.com": fresh(Zone(name="example.com", ttl=zone_ttl))}
    question = DNSRecord.question("none.example.com").pack()
    answer = DNSRecord.parse(answer_bytes(published, question, udp=True))
    assert [denial.ttl for denial in answer.auth] == [denial_ttl]


def test_the_ttl_is_the_rrsets_or_else_the_zones(sandbox: Sandbox) -> None:
    assert [rr.ttl for rr in ask(sandbox, "home.example.com").rr] == [60]
    assert {rr.ttl for rr in ask(sandbox, "example.com", "NS").rr} == {3600}


def test_an_answer_repeats_the_spelling_of_the_name(sandbox: Sandbox) -> None:
    assert str(ask(sandbox, "hOmE.example.com").rr[0].rname) == "hOmE.example.com."
    assert str(ask(sandbox, "x.dyn.example.com").rr[0].rname) == "x.dyn.example.com."


def test_long_answers_are_truncated_over_udp_only(sandbox: Sandbox) -> None:
    short = ask(sandbox, "big.example.com", "TXT")
    assert (short.header.tc, short.rr) == (1, [])
    whole = ask(sandbox, "big.example.com", "TXT", tcp=True)
    assert (whole.header.tc, len(whole.rr)) == (0, 50)


def test_edns_is_answered_and_its_size_respected(sandbox: Sandbox) -> None:
    question = DNSRecord.question("example.com", "NS")
    question.add_ar(EDNS0(udp_len=4096, flags="do"))
    answer = DNSRecord.parse(question.send("127.0.0.1", sandbox.dns_port, timeout=20))
    assert [extra.rtype for extra in answer.ar] == [QTYPE.OPT]
    assert len(answer.rr) == 3
    nine = fresh(Zone(name="example.com")).create(
        RRSet("n", "TXT", tuple(Record(f'"{"x" * 90}{n}"') for n in range(9)))
    )
    for size, cut in ((0, 1), (512, 1), (1232, 0), (65535, 0)):
        question = DNSRecord.question("n.example.com", "TXT")
        question.add_ar(EDNS0(udp_len=size))
        packed = answer_bytes({"example.com": nine}, question.pack(), udp=True)
        assert DNSRecord.parse(packed).header.tc == cut


def test_several_questions_on_one_tcp_connection_are_answered_in_order(sandbox: Sandbox) -> None:
    with socket.create_connection(("127.0.0.1", sandbox.dns_port), timeout=20) as connection:
        stream = connection.makefile("rb")
        for name in ("home.example.com", "none.example.com"):
            packet = DNSRecord.question(name).pack()
            # Send the question in pieces, as networks may deliver it.
            for piece in (struct.pack("!H", len(packet)), packet[:7], packet[7:]):
                connection.sendall(piece)
            (length,) = struct.unpack("!H", stream.read(2))
            assert str(DNSRecord.parse(stream.read(length)).q.qname) == f"{name}."
        stream.close()


@pytest.mark.parametrize(
    "packet",
    [b"", b"x", b"\0" * 11, b"\xff" * 40, b"GET / HTTP/1.1\r\n\r\n", b"\0" * 12 + b"\xc0\x0c" * 9],
)
def test_garbage_is_ignored_and_the_next_question_answered(sandbox: Sandbox, packet: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.sendto(packet, ("127.0.0.1", sandbox.dns_port))
        good = DNSRecord.question("home.example.com")
        client.sendto(good.pack(), ("127.0.0.1", sandbox.dns_port))
        answers = [DNSRecord.parse(client.recv(4096))]
        if answers[0].header.id != good.header.id:
            answers.append(DNSRecord.parse(client.recv(4096)))
    assert summary(answers[-1]) == ("NOERROR", ["192.0.2.1"])
    with socket.create_connection(("127.0.0.1", sandbox.dns_port), timeout=20) as connection:
        connection.sendall(struct.pack("!H", len(packet)) + packet)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass


def test_answers_are_not_answered_and_updates_not_implemented(sandbox: Sandbox) -> None:
    published = sandbox.zones.published()
    question = DNSRecord.question("home.example.com")
    assert answer_bytes(published, question.reply().pack(), udp=True) == b""
    question.header.opcode = OPCODE.UPDATE
    answer = DNSRecord.parse(answer_bytes(published, question.pack(), udp=True))
    assert RCODE[answer.header.rcode] == "NOTIMP"


@settings(deadline=None)
@given(garbage=st.binary(max_size=60), at=st.integers(0, 40))
def test_any_packet_is_answered_or_ignored(garbage: bytes, at: int) -> None:
    published = {"example.com": fresh(Zone(name="example.com"))}
    packet = DNSRecord.question("example.com", "NS").pack()
    for broken in (garbage, packet[:at] + garbage, packet[:at] + garbage + packet[at:]):
        assert isinstance(answer_bytes(published, broken, udp=True), bytes)


def test_transfers_and_other_classes_are_refused(sandbox: Sandbox) -> None:
    published = sandbox.zones.published()
    for question in (
        DNSRecord.question("example.com", "AXFR"),
        DNSRecord.question("home.example.com", qclass="CH"),
    ):
        answer = DNSRecord.parse(answer_bytes(published, question.pack(), udp=False))
        assert summary(answer) == ("REFUSED", [])


def test_answers_are_not_marked_as_verified(sandbox: Sandbox) -> None:
    question = DNSRecord.question("home.example.com")
    question.header.ad = 1
    packed = answer_bytes(sandbox.zones.published(), question.pack(), udp=True)
    assert DNSRecord.parse(packed).header.ad == 0


def test_ipv6_is_answered_too_where_there_is_any(sandbox: Sandbox) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no ::1")
    for tcp in (False, True):
        question = DNSRecord.question("home.example.com")
        packet = question.send("::1", sandbox.dns_port, tcp=tcp, timeout=20, ipv6=True)
        assert summary(DNSRecord.parse(packet)) == ("NOERROR", ["192.0.2.1"])


def test_the_answer_without_a_socket_is_the_same(sandbox: Sandbox) -> None:
    assert sandbox.answer("HOME.example.com.", "A") == ["192.0.2.1"]
    assert sandbox.answer("none.example.com", "A") == []
    assert sandbox.answer("x.dyn.example.com", "A") == ["192.0.2.7"]
