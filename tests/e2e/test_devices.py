"""The exact requests of devices and the exact answers of the real server."""

from __future__ import annotations

import json
import socket

import pytest

from tests.e2e.processes import Backend, Hetzner
from tests.e2e.test_serving import expect_one_line, login, raw

V4, V6 = "198.51.100.7", "2001:db8::7"
SEEN = "127.0.0.1"


def request_of(line: str, *headers: str, body: str = "") -> str:
    return "\r\n".join([line, *headers, "", body])


# Captured or documented requests; `{…}` is filled in.
HOST, BASIC = "Host: {server}", "Authorization: Basic {login}"
FORM = "Content-Type: application/x-www-form-urlencoded"
UPDATE = "/nic/update?hostname={host}&myip=198.51.100.7"
GOOD = f"good {V4}"
BOTH = f"good {V4},{V6}"
FRITZ_BOX = (HOST, BASIC, "User-Agent: Fritz!Box DDNS/1.0.1")
LONG = "2001:0DB8:0000:0000:0000:0000:0000:0007"
REQUESTS: dict[str, tuple[str, str]] = {
    "Fritz!Box": (request_of(f"GET {UPDATE}&myipv6=2001:db8::7 HTTP/1.1", *FRITZ_BOX), BOTH),
    "Fritz!Box without IPv6": (
        request_of(f"GET {UPDATE}&myipv6=&ip6lanprefix= HTTP/1.1", *FRITZ_BOX),
        GOOD,
    ),
    "Fritz!Box without this placeholder": (
        request_of(
            f"GET {UPDATE}&myipv6=<ip6addr>&ip6lanprefix=<ip6lanprefix> HTTP/1.1", *FRITZ_BOX
        ),
        GOOD,
    ),
    "Speedport, IPv6 first": (
        request_of(f"GET /nic/update?hostname={{host}}&myip={V6},{V4} HTTP/1.1", HOST, BASIC),
        BOTH,
    ),
    "Speedport, login in the query": (
        request_of(f"GET {UPDATE}&user={{host}}&pass={{key}} HTTP/1.1", HOST),
        GOOD,
    ),
    "Vodafone, its placeholder unfilled": (
        request_of("GET /nic/update?hostname={host}&myip=%IP% HTTP/1.1", HOST, BASIC),
        f"good {SEEN}",
    ),
    "ddclient 3.10": (
        request_of(
            "GET /nic/update?system=dyndns&hostname={host}&myip=198.51.100.7 HTTP/1.0",
            *(HOST, BASIC, "User-Agent: ddclient/3.10.0", "Connection: close"),
        ),
        GOOD,
    ),
    "inadyn, UniFi, asuswrt": (
        request_of(f"GET {UPDATE} HTTP/1.0", "Host: 127.0.0.1", BASIC, "User-Agent: inadyn/2.10.0"),
        GOOD,
    ),
    "OPNsense, POST with an empty body": (
        request_of(f"POST {UPDATE} HTTP/1.1", HOST, BASIC, "Accept: */*", "Content-Length: 0"),
        GOOD,
    ),
    "pfSense by curl": (
        request_of(
            f"GET {UPDATE} HTTP/1.1", HOST, BASIC, "User-Agent: phpDynDNS/0.7", "Accept: */*"
        ),
        GOOD,
    ),
    "MikroTik v6": (
        request_of(f"GET {UPDATE} HTTP/1.0", HOST, BASIC, "User-Agent: Mikrotik/6.x Fetch"),
        GOOD,
    ),
    "Synology, as its help has it": (
        request_of(
            "GET /nic/update?HOSTNAME={host}&MYIP=198.51.100.7&USER={host}&PASS={key} HTTP/1.1",
            HOST,
        ),
        GOOD,
    ),
    "OpenWrt, IPv6 written out in upper case": (
        request_of(f"GET /nic/update?hostname={{host}}&myip={LONG} HTTP/1.1", HOST, BASIC),
        f"good {V6}",
    ),
    "dyn.com of old": (
        request_of(
            f"GET {UPDATE}&wildcard=NOCHG&mx=NOCHG&backmx=NOCHG&offline=NO& HTTP/1.0",
            *(HOST, BASIC),
        ),
        GOOD,
    ),
    "dyn.com's newer path": (
        request_of("GET /v3/update?hostname={host}&myip=198.51.100.7 HTTP/1.1", HOST, BASIC),
        GOOD,
    ),
    "neither Host nor User-Agent": (request_of(f"GET {UPDATE} HTTP/1.0", BASIC), GOOD),
    # The test client of old Werkzeug versions can't send these.
    "an invalid Host": (request_of(f"GET {UPDATE} HTTP/1.1", "Host: ::", BASIC), GOOD),
    "a Host of odd characters": (
        request_of(f"GET {UPDATE} HTTP/1.1", "Host: <a:b>/%", BASIC),
        GOOD,
    ),
    "a length on a GET": (
        request_of(f"GET {UPDATE} HTTP/1.1", HOST, BASIC, FORM, "Content-Length: 0"),
        GOOD,
    ),
    "a form": (
        request_of(
            "POST /nic/update HTTP/1.1",
            *(HOST, BASIC, FORM, "Content-Length: {length}"),
            body="hostname={host}&myip=198.51.100.7",
        ),
        GOOD,
    ),
    "a bare name, and slashes too many": (
        request_of("GET //nic/update/?{host}&myip=198.51.100.7 HTTP/1.1", HOST, BASIC),
        GOOD,
    ),
    "the path appended to a URL that contains it": (
        request_of(f"GET /nic/update{UPDATE} HTTP/1.1", HOST, BASIC),
        GOOD,
    ),
    "raw UTF-8 in all of the URL": (
        request_of(f"GET http://{{server}}{UPDATE}&x=müller HTTP/1.1", HOST, BASIC),
        GOOD,
    ),
    "no name, the user tells": (
        request_of("GET /nic/update?myip=198.51.100.7 HTTP/1.0", BASIC),
        GOOD,
    ),
    "lower-case headers, and all of the URL": (
        request_of(
            f"GET http://{{server}}{UPDATE} HTTP/1.1",
            *("host: {server}", "authorization: basic {login}"),
        ),
        GOOD,
    ),
}


def filled_in(template: str, backend: Backend, host: str) -> bytes:
    values = {
        "{host}": host,
        "{key}": backend.key_of(host),
        "{login}": login(backend, host),
        "{server}": f"127.0.0.1:{backend.port}",
        "{length}": str(len(f"hostname={host}&myip=198.51.100.7")),
    }
    for name, value in values.items():
        template = template.replace(name, value)
    return template.encode()


@pytest.mark.parametrize(("request_", "expected"), REQUESTS.values(), ids=REQUESTS.keys())
def test_the_request_of_a_device_is_answered_to_the_byte(
    backend: Backend, hetzner: Hetzner, host: str, request_: str, expected: str
) -> None:
    sent = filled_in(request_, backend, host)
    expect_one_line(raw(backend.port, sent), "200 OK", f"{expected}\n".encode())
    again = expected.replace("good", "nochg")
    expect_one_line(raw(backend.port, sent), "200 OK", f"{again}\n".encode())
    for address in expected.split(" ")[1].split(","):
        hetzner.expect(host, address, kind="AAAA" if ":" in address else "A")


def test_a_body_is_sent_after_100_continue(backend: Backend, hetzner: Hetzner, host: str) -> None:
    body = f"hostname={host}&myip={V4}"
    head = request_of(
        "POST /nic/update HTTP/1.1",
        *(HOST, BASIC, FORM, f"Content-Length: {len(body)}", "Expect: 100-continue"),
    )
    with socket.create_connection(("127.0.0.1", backend.port), timeout=20) as connection:
        connection.sendall(filled_in(head, backend, host))
        answers = connection.makefile("rb")
        assert [answers.readline() for _ in range(2)] == [b"HTTP/1.1 100 Continue\r\n", b"\r\n"]
        connection.sendall(body.encode())
        assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
    hetzner.expect(host, V4)


@pytest.mark.parametrize("path", ["/update/", "//update", "http://backend/update"])
def test_each_spelling_of_the_path_updates(
    backend: Backend, hetzner: Hetzner, host: str, path: str
) -> None:
    body = f'{{"fqdn": "{host}", "ip": "{V4}"}}'
    key = f"X-Pre-Shared-Key: {backend.key_of(host)}"
    sent = request_of(f"POST {path} HTTP/1.1", HOST, key, f"Content-Length: {len(body)}", body=body)
    for status in ("created", "unchanged"):
        status_line, _, answer = raw(backend.port, filled_in(sent, backend, host))
        assert (status_line, json.loads(answer)["status"]) == ("HTTP/1.1 200 OK", status)
    hetzner.expect(host, V4)


def test_a_request_without_a_login_gets_a_challenge(backend: Backend, host: str) -> None:
    bare = f"GET /nic/update?hostname={host}&myip={V4} HTTP/1.1\r\nHost: x\r\n"
    answer = raw(backend.port, f"{bare}\r\n".encode())
    expect_one_line(answer, "401 UNAUTHORIZED", b"badauth\n")
    assert 'WWW-Authenticate: Basic realm="dyndns", charset="UTF-8"' in answer[1]
    again = f"{bare}Authorization: Basic {login(backend, host)}\r\n\r\n"
    expect_one_line(raw(backend.port, again.encode()), "200 OK", f"{GOOD}\n".encode())


FAILURES: dict[str, tuple[str, str, bytes]] = {
    "an old Fritz!Box's second URL": (
        request_of("GET /nic/update%20http:/x HTTP/1.1", HOST, BASIC),
        *("404", b"dnserr\n"),
    ),
    "PUT": (
        request_of(f"PUT {UPDATE} HTTP/1.1", HOST, BASIC, "Content-Length: 0"),
        *("405", b"badagent\n"),
    ),
    "HEAD": (request_of(f"HEAD {UPDATE} HTTP/1.1", HOST, BASIC), "405", b""),
    "21 hosts": (
        request_of(f"GET /nic/update?hostname={','.join(['{host}'] * 21)} HTTP/1.1", HOST, BASIC),
        *("400", b"numhost\n"),
    ),
    "a line of 10,000 characters": (
        request_of(f"GET {UPDATE}&x={'x' * 10_000} HTTP/1.1", HOST, BASIC),
        *("414", b"URI Too Long\n"),
    ),
    "a header without a name": (
        request_of(f"GET {UPDATE} HTTP/1.1", HOST, ": x", BASIC),
        *("400", b"Bad Request\n"),
    ),
    "a header of 20,000 characters": (
        request_of(f"GET {UPDATE} HTTP/1.1", HOST, f"X: {'x' * 20_000}", BASIC),
        *("431", b"Request Header Fields Too Large\n"),
    ),
    "another protocol": ("SSH-2.0-OpenSSH_9.2\r\n\r\n", "400", b"Bad Request\n"),
    "HTTP of the future": (
        request_of(f"GET {UPDATE} HTTP/9.9", HOST, BASIC),
        *("400", b"Bad Request\n"),
    ),
}


@pytest.mark.parametrize(("sent", "status", "line"), FAILURES.values(), ids=FAILURES.keys())
def test_an_invalid_request_is_refused_and_not_quoted(  # noqa: PLR0913, PLR0917
    backend: Backend, hetzner: Hetzner, host: str, sent: str, status: str, line: bytes
) -> None:
    status_line, headers, body = raw(backend.port, filled_in(sent, backend, host))
    assert status_line.split(" ")[1] == status
    assert line.strip() in body
    assert backend.key_of(host).encode() not in body
    assert not [header for header in headers if header.startswith(("Transfer-", "Location"))]
    assert hetzner.resolve(host) == []
    assert backend.key_of(host) not in backend.output


def test_a_tls_handshake_is_refused(backend: Backend) -> None:
    hello = bytes.fromhex("16030100050100000100") + b"\r\n\r\n"
    status, _, body = raw(backend.port, hello)
    assert status.startswith("HTTP/1.1 400 ")
    assert b"Bad Request" in body


def test_twenty_hosts_with_the_longest_names_fit_into_one_request(
    backend: Backend, host: str
) -> None:
    names = ",".join([host, *["a" * 63 + "." + "b" * 63 + "." + "c" * 63 + ".example.com"] * 19])
    request = request_of(f"GET /nic/update?hostname={names}&myip={V4} HTTP/1.1", HOST, BASIC)
    _, _, body = raw(backend.port, filled_in(request, backend, host))
    assert body == b"good 198.51.100.7\n" + b"nohost\n" * 19
