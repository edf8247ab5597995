"""Requests of real devices and programs: each is executed, or refused and reported.

Every request comes through a trusted proxy. The caller's own address must never be published.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Iterator, Mapping, NamedTuple

import pytest

from tests.e2e.processes import Backend, Hetzner
from tests.e2e.test_serving import raw

CALLER = "203.0.113.250"
KEY = "the-key-of-two-hosts-4711"
IDN = "xn--mller-kva.example.com"
V4, V6 = "198.51.100.7", "2001:db8:99:2:7656:3cff:fe47:1"
FULLWIDTH_V4 = "".join(chr(ord(character) + 0xFEE0) for character in V4)
PROXY = f"Host: backend.example.com\r\nConnection: close\r\nX-Real-Ip: {CALLER}\r\n"
KEY_HEADER = f"X-Pre-Shared-Key: {KEY}\r\n"
HOSTS = tuple(f"host{number}.example.com" for number in range(300))
# Each case has its own hosts, so that its records and its warning are new.
_free = iter(HOSTS)


@pytest.fixture(scope="module")
def backend(hetzner: Hetzner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    folder = tmp_path_factory.mktemp("backend")
    hosts = [*HOSTS, IDN]
    (folder / "pre-shared-key").write_text("".join(f"{host} {KEY}\n" for host in hosts))
    settings = {
        "REGISTERED_FQDNS": ",".join(hosts),
        "ALLOW_PRIVATE_ADDRESSES": "0",
        "TRUSTED_PROXIES": "127.0.0.0/8,10.0.0.0/8,172.64.0.0/13",
    }
    with Backend(folder, hetzner, **settings) as backend:
        yield backend


class Request(NamedTuple):
    """A request; `HOST` and `OTHER` stand for two registered hosts with the same key."""

    head: str
    body: str = ""
    encoding: str = "utf-8"

    def sent(self, names: Mapping[str, str]) -> bytes:
        head, body = self.head, self.body
        for name, value in names.items():
            head, body = head.replace(name, value), body.replace(name, value)
        content = body.encode(self.encoding)
        length = f"Content-Length: {len(content)}\r\n" if "GET" not in head else ""
        return f"{head}{length}\r\n".encode() + content


class Case(NamedTuple):
    """A request, its answer, the records of both hosts afterwards, and the warning."""

    request: Request
    answer: tuple[int, str]
    a: str = ""
    aaaa: str = ""
    other_a: str = ""
    warning: str = ""


def basic(login: bytes) -> str:
    return f"Authorization: Basic {b64encode(login).decode()}\r\n"


LOGIN = "{LOGIN}"


def get(query: str, login: str = LOGIN, path: str = "/nic/update") -> Request:
    return Request(f"GET {path}?{query} HTTP/1.1\r\n{PROXY}{login}")


def post(
    body: str,
    path: str = "/update",
    headers: str = KEY_HEADER,
    *,
    method: str = "POST",
    encoding: str = "utf-8",
) -> Request:
    return Request(f"{method} {path} HTTP/1.1\r\n{PROXY}{headers}", body, encoding)


def good(*addresses: str) -> tuple[int, str]:
    return 200, f"good {','.join(addresses)}\n"


class AnyWith(str):
    """Equal to every text that contains this one."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and str(self) in str(other)


DNSERR = (400, "dnserr\n")
NOTFQDN = (400, "notfqdn\n")
CREATED = (200, '"status": "created"')
AS_JSON = "Content-Type: application/json\r\n"
NAMED = '{"fqdn": "HOST", "ip": "' + V4 + '"}'
PREFIX = "ip6lanprefix=2001:db8:99:2::/64"
SUFFIX = "7656:3cff:fe47:1"

CASES = {
    "addresses under other names": Case(
        get(f"hostname=HOST&ipaddr={V4}&ip6addr={V6}"), good(V4, V6), a=V4, aaaa=V6
    ),
    "names in upper case": Case(get(f"Hostname=HOST&IPv4Addr={V4}"), good(V4), a=V4),
    "&amp; between parameters": Case(get(f"hostname=HOST&amp;myip={V4}"), good(V4), a=V4),
    "JSON at /nic/update": Case(
        post(f'{{"hostname": "OTHER", "myip": "{V4}"}}', "/nic/update", LOGIN + AS_JSON),
        good(V4),
        other_a=V4,
    ),
    "a form without a type": Case(
        post(f"hostname=HOST&myip={V4}", "/nic/update", LOGIN), good(V4), a=V4
    ),
    "ipv6 in JSON": Case(post(f'{{"fqdn": "HOST", "ipv6": "{V6}"}}'), CREATED, aaaa=V6),
    "both families in JSON": Case(
        post(f'{{"host": "HOST", "ipv4": "{V4}", "ipv6": "{V6}"}}'),
        (200, '"records": [{"status": "created", "type": "A"'),
        a=V4,
        aaaa=V6,
    ),
    "IP in JSON": Case(post(f'{{"fqdn": "HOST", "IP": "{V4}"}}'), CREATED, a=V4),
    "an unknown parameter": Case(
        get(f"hostname=HOST&wan_address={V4}"), DNSERR, warning=f'wan_address="{V4}"'
    ),
    "an unknown parameter with a long name": Case(
        get(f"hostname=HOST&external_ip_address={V4}"), DNSERR, warning="external_ip_address="
    ),
    "an unknown parameter beside a known one": Case(
        get(f"hostname=HOST&myip={V4}&lan={V4}"), DNSERR, warning=f'lan="{V4}"'
    ),
    "an unknown field in JSON": Case(
        post(f'{{"fqdn": "HOST", "target": ["{V4}"]}}'), (400, "bad_request"), warning="target"
    ),
    "an unknown field in a form": Case(
        post(f"fqdn=HOST&wan={V4}", headers=KEY_HEADER), (400, "bad_request"), warning="wan"
    ),
    "an address with a port": Case(
        get(f"hostname=HOST&wan={V4}:8080"), DNSERR, warning=f'wan="{V4}:8080"'
    ),
    **{
        f"an address as {label.format('address')}": Case(
            get(f"hostname=HOST&wan={label.format(V4)}"), DNSERR, warning="wan="
        )
        for label in ("v4:{}", "wan-{}", "{}_x", "{}ms", "eth0:{}", "[{}]", "wan.{}")
    },
    "another host as system": Case(
        get(f"hostname=HOST&system=OTHER&myip={V4}"), DNSERR, warning='system="OTHER"'
    ),
    "a foreign host in an unknown parameter": Case(
        get(f"hostname=HOST&record=www.elsewhere.org&myip={V4}"), DNSERR, warning="record="
    ),
    "a removal with an address": Case(
        post(NAMED, method="DELETE"), (400, "bad_request"), warning="removal"
    ),
    "a public prefix behind a private one": Case(
        get(f"hostname=HOST&myipv6=::{SUFFIX}&ip6lanprefix=fd00::/64,2001:db8:99:2::/64"),
        good(V6),
        aaaa=V6,
    ),
    "an address that is encoded twice": Case(
        get("hostname=HOST&wan=2001%253Adb8%253A%253A7"), DNSERR, warning="wan="
    ),
    "an address as second host name, encoded twice": Case(
        get("hostname=HOST&hostname=2001%253Adb8%253A%253A7", KEY_HEADER),
        (400, "dnserr\nnotfqdn\n"),
        warning="hostname=",
    ),
    "an address that is part of a name": Case(
        get("hostname=HOST&name2001:db8::7=1"), DNSERR, warning="name2001:db8::7"
    ),
    "another host that is encoded twice": Case(
        get(f"target=other%252Eexample%252Ecom&myip={V4}"), DNSERR, warning="target="
    ),
    "an address in fullwidth digits": Case(
        get(f"hostname=HOST&wan={FULLWIDTH_V4}"), DNSERR, warning="wan="
    ),
    "another host beside an address": Case(
        get(f"hostname=HOST&myip={V4},OTHER"), DNSERR, warning='myip="OTHER"'
    ),
    "another host as prefix beside an address": Case(
        get(f"myip={V4}&ip6lanprefix=OTHER"), DNSERR, warning='ip6lanprefix="OTHER"'
    ),
    "another host as name of a parameter": Case(
        get(f"OTHER=1&myip={V4}"), DNSERR, warning='OTHER="1"'
    ),
    "lines instead of a form": Case(
        post(f"myip={V4}\nhostname=OTHER\n", "/nic/update", LOGIN), DNSERR, warning="OTHER"
    ),
    "an address in a URL": Case(
        get(f"hostname=HOST&source=http://{V4}:8080/"), DNSERR, warning="source="
    ),
    "an address behind a tab in a nested field": Case(
        post(f'{{"fqdn": "HOST", "net": [{{"a": "eth0\\t{V4}"}}]}}'),
        (400, "bad_request"),
        warning="net=",
    ),
    "an address as type": Case(get(f"hostname=HOST&type={V4}"), DNSERR, warning="type="),
    "a type that contradicts the address": Case(
        get(f"hostname=HOST&type=AAAA&myip={V4}"), DNSERR, warning="AAAA"
    ),
    "another host as url": Case(get(f"url=OTHER&myip={V4}"), DNSERR, warning='url="OTHER"'),
    "another host as user without a password": Case(
        get(f"user=OTHER&myip={V4}"), DNSERR, warning='user="OTHER"'
    ),
    "a domain that contradicts the host name": Case(
        get(f"hostname=HOST&domain=nas.elsewhere.org&myip={V4}"), DNSERR, warning="domain="
    ),
    "the domain of the host": Case(
        get(f"hostname=HOST&domain=example.com&host_id=4711&myip={V4}"), good(V4), a=V4
    ),
    "a version of a device": Case(
        get(f"hostname=HOST&myip={V4}&agent=DSM-7.1.1.42&version=3.0-r1"), good(V4), a=V4
    ),
    "a host part with the number of the LAN": Case(
        get("hostname=HOST&myipv6=::2:1:2:3:4&ip6lanprefix=2001:db8:99::/56"),
        good("2001:db8:99:2:1:2:3:4"),
        aaaa="2001:db8:99:2:1:2:3:4",
    ),
    "5000 digits after an address": Case(
        get(f"hostname=HOST&myip=2001:db8::1/{'1' * 3000}"), DNSERR, warning="myip="
    ),
    "two hosts in JSON": Case(
        post(f'{{"fqdn": "HOST,OTHER", "ip": "{V4}"}}', headers="{LOGIN}"),
        (400, "invalid_fqdn"),
        warning="one host",
    ),
    "101 parameters": Case(
        get("hostname=HOST&" + "&".join(["x=y"] * 101)), DNSERR, warning="up to 100 parameters"
    ),
    "21 addresses": Case(
        get(f"hostname=HOST&myip={','.join([V4] * 21)}"), DNSERR, warning="up to 20 addresses"
    ),
    "a multipart field without a name": Case(
        post(
            '--b\r\nContent-Disposition: form-data; x="a"\r\n\r\n1\r\n--b--\r\n',
            "/update?fqdn=HOST",
            KEY_HEADER + "Content-Type: multipart/form-data; boundary=b\r\n",
        ),
        (400, "bad_request"),
        warning="form can't be read",
    ),
    "text behind a multipart form": Case(
        post(
            f'--b\r\nContent-Disposition: form-data; name="fqdn"\r\n\r\nHOST\r\n--b--\r\nip={V4}',
            headers=KEY_HEADER + "Content-Type: multipart/form-data; boundary=b\r\n",
        ),
        (400, ""),
    ),
    "an address without a name": Case(get(f"hostname=HOST&{V4}"), DNSERR, warning=f'"{V4}"'),
    "domain": Case(get(f"domain=OTHER&myip={V4}"), good(V4), other_a=V4),
    "domain of another owner": Case(
        get(f"domain=foreign.example.com&myip={V4}"),
        (404, "nohost\n"),
        warning="foreign.example.com",
    ),
    "another host in an unknown parameter": Case(
        get(f"target=OTHER&myip={V4}"), DNSERR, warning='target="OTHER"'
    ),
    "two host names that contradict each other": Case(
        post(f'{{"fqdn": "HOST", "url": "OTHER", "ip": "{V4}"}}'),
        (400, "bad_request"),
        warning='url="OTHER"',
    ),
    "the right login in the query": Case(
        get(f"hostname=HOST&myip={V4}&user=HOST&pass={KEY}", basic(b"x:x")), good(V4), a=V4
    ),
    "the right login in the header": Case(
        get(f"hostname=HOST&myip={V4}&user=x&pass=y"), good(V4), a=V4
    ),
    "a key alone in the query": Case(
        get(f"hostname=HOST&myip={V4}&password={KEY}", ""), good(V4), a=V4
    ),
    # A device has appended its parameters to a URL that ends with a login.
    "an address behind a password": Case(
        get(f"hostname=HOST&user=HOST&pass={KEY}?myip={V4}"), DNSERR, warning="pass="
    ),
    "another host behind a password": Case(
        get(f"user=HOST&pass={KEY}?hostname=OTHER&myip={V4}"), DNSERR, warning="pass="
    ),
    "an address behind a user": Case(
        get(f"hostname=HOST&pass=wrong&user=HOST?myip={V4}"), DNSERR, warning="user="
    ),
    "an address as password": Case(
        get(f"hostname=HOST&user=HOST&pass=ip-{V4}"), DNSERR, warning="pass="
    ),
    "an address as second password": Case(
        get(f"hostname=HOST&user=HOST&password={KEY}&pass={V4}"), DNSERR, warning=f'pass="{V4}"'
    ),
    "Bearer": Case(
        get(f"hostname=HOST&myip={V4}", f"Authorization: Bearer {KEY}\r\n"), good(V4), a=V4
    ),
    "prefix and host part in one": Case(
        get(f"hostname=HOST&myip={V4}&myipv6=2001:db8:99:2::/64{SUFFIX}"),
        good(V4, V6),
        a=V4,
        aaaa=V6,
    ),
    "prefix and host part side by side": Case(
        get(f"hostname=HOST&myip={V4}&myipv6=::{SUFFIX}&{PREFIX}"), good(V4, V6), a=V4, aaaa=V6
    ),
    "garbage beside an address": Case(
        get(f"hostname=HOST&myip={V4}&myipv6=2001:db8:1:2::/64zz"),
        good(V4),
        a=V4,
        warning="2001:db8:1:2::/64zz",
    ),
    "a list of addresses": Case(
        get(f"hostname=HOST&myip=192.168.178.20,{V4},fd00::1,{V6}"), good(V4, V6), a=V4, aaaa=V6
    ),
    "UTF-8 with a byte order mark": Case(post(NAMED, encoding="utf-8-sig"), CREATED, a=V4),
    "UTF-16": Case(post(NAMED, encoding="utf-16"), CREATED, a=V4),
    "UTF-16 without a byte order mark": Case(post(NAMED, encoding="utf-16-le"), CREATED, a=V4),
    "Latin-1": Case(
        post(f'{{"fqdn": "HOST", "ip": "{V4}", "device": "büro"}}', encoding="latin-1"),
        CREATED,
        a=V4,
    ),
    "a form called JSON": Case(
        post(f"fqdn=HOST&ip={V4}", headers=KEY_HEADER + AS_JSON), CREATED, a=V4
    ),
    "fields in the query": Case(post("", f"/update?fqdn=HOST&ip={V4}"), CREATED, a=V4),
    "a body that can't be read": Case(
        post(V4, "/nic/update?hostname=HOST", LOGIN), DNSERR, warning="neither JSON nor a form"
    ),
    "a body that can't be read at /update": Case(
        post(f"<ip>{V4}</ip>", "/update?fqdn=HOST"), (400, "bad_request"), warning="neither JSON"
    ),
    "blanks around the login": Case(
        get(f"hostname=HOST&myip={V4}", "{LOGIN_WITH_LINE_END}"), good(V4), a=V4
    ),
    "base64 without padding": Case(
        get(f"hostname=HOST&myip={V4}", "{LOGIN_WITHOUT_PADDING}"), good(V4), a=V4
    ),
    "offline=1": Case(get(f"hostname=HOST&myip={V4}&offline=1"), (200, "good\n")),
    "offline=true": Case(get("hostname=HOST&offline=true"), (200, "good\n")),
    "offline=maybe": Case(get("hostname=HOST&offline=maybe"), DNSERR, warning="offline"),
    "DELETE with a query": Case(
        post("", "/update?fqdn=HOST", method="DELETE"), (200, '"status": "unchanged"')
    ),
    "[v6]": Case(
        get("hostname=HOST&myip=[2001:db8::28]"), good("2001:db8::28"), aaaa="2001:db8::28"
    ),
    "hostname=%h": Case(get("hostname=%25h"), NOTFQDN, warning='"%h"'),
    "hostname=<domain>": Case(get("hostname=<domain>"), NOTFQDN, warning='"<domain>"'),
    "hostname=host": Case(get("hostname=host"), NOTFQDN, warning='"host"'),
    "hostname=https://HOST/": Case(get("hostname=https://HOST/"), NOTFQDN, warning="https://HOST/"),
    "hostname=HOST:8080": Case(get("hostname=HOST:8080"), NOTFQDN, warning="HOST:8080"),
    "a URL as fqdn": Case(
        post('{"fqdn": "https://HOST/", "ip": "' + V4 + '"}', headers=LOGIN),
        (400, "invalid_fqdn"),
        warning="https://HOST/",
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_request_is_executed_or_refused(backend: Backend, hetzner: Hetzner, case: Case) -> None:
    host, other = next(_free), next(_free)
    login = f"{host}:{KEY}".encode()
    names = {
        "HOST": host,
        "OTHER": other,
        "{LOGIN}": basic(login),
        "{LOGIN_WITH_LINE_END}": basic(login + b"\n"),
        "{LOGIN_WITHOUT_PADDING}": basic(login).replace("=", ""),
    }
    status, _, body = raw(backend.port, case.request.sent(names))
    assert (status.split(" ")[1], body.decode()) == (str(case.answer[0]), AnyWith(case.answer[1]))
    hetzner.expect(host, *filter(None, [case.a]))
    hetzner.expect(host, *filter(None, [case.aaaa]), kind="AAAA")
    hetzner.expect(other, *filter(None, [case.other_a]))
    query = "SELECT host, why, source FROM history WHERE event IN ('rejected', 'partial')"
    warnings = [row[1:] for row in backend.query(query) if row[0] == host]
    assert len(warnings) == bool(case.warning)
    for why, source in warnings:
        assert case.warning.replace("HOST", host).replace("OTHER", other) in why
        assert source == CALLER
        lines = [line for line in backend.output.splitlines() if host in line and why in line]
        assert len(lines) == 1
    assert KEY not in backend.output


@pytest.mark.parametrize("user", ["müller.example.com".encode(), "müller".encode("latin-1")])
def test_a_unicode_name_is_a_user(backend: Backend, hetzner: Hetzner, user: bytes) -> None:
    request = get(f"hostname={IDN}&myip={V4}", basic(user + b":" + KEY.encode()))
    assert raw(backend.port, request.sent({}))[2] in (
        f"good {V4}\n".encode(),
        f"nochg {V4}\n".encode(),
    )
    hetzner.expect(IDN, V4)


@pytest.mark.parametrize("hop", ["172.68.1.1", "10.0.0.6", "10.0.0.6:4711", "unknown"])
@pytest.mark.parametrize("path", ["/nic/update", "/update"])
def test_a_proxy_in_front_of_the_proxy_names_the_caller(
    backend: Backend, hetzner: Hetzner, hop: str, path: str
) -> None:
    host = next(_free)
    request = get(f"hostname={host}", basic(f"{host}:{KEY}".encode()))
    if path == "/update":
        request = post(f'{{"fqdn": "{host}"}}')
    forwarded = f"X-Real-Ip: {hop}\r\nX-Forwarded-For: {CALLER}, {V4}, 172.68.1.2"
    sent = request.sent({f"X-Real-Ip: {CALLER}": forwarded})
    status, _, body = raw(backend.port, sent)
    assert status.split(" ")[1] == "200"
    assert V4 in body.decode()
    hetzner.expect(host, V4)


REMOVALS = {
    **{f"offline={word}": get(f"hostname=HOST&offline={word}") for word in ("YES", "1", "true")},
    "offline=1 with an address": get(f"hostname=HOST&myip={V4}&offline=1"),
    "DELETE with a query": post("", "/update?fqdn=HOST", method="DELETE"),
    "DELETE with a body": post('{"fqdn": "HOST"}', "/update/", method="DELETE"),
}


@pytest.mark.parametrize("removal", REMOVALS.values(), ids=REMOVALS.keys())
def test_a_removal_removes_both_records(
    backend: Backend, hetzner: Hetzner, removal: Request
) -> None:
    host = next(_free)
    names = {"HOST": host, "{LOGIN}": basic(f"{host}:{KEY}".encode())}
    assert raw(backend.port, get(f"hostname=HOST&myip={V4},{V6}").sent(names))[2] == (
        f"good {V4},{V6}\n".encode()
    )
    hetzner.expect(host, V4)
    hetzner.expect(host, V6, kind="AAAA")
    status, _, body = raw(backend.port, removal.sent(names))
    assert status.split(" ")[1] == "200"
    assert body.startswith((b"good\n", b'{"status": "deleted"'))
    hetzner.expect(host)
    hetzner.expect(host, kind="AAAA")


def test_a_fragment_in_the_target_is_refused(backend: Backend, hetzner: Hetzner) -> None:
    host = next(_free)
    login = basic(f"{host}:{KEY}".encode())
    request = get(f"hostname={host}#&myip={V4}", login)
    assert raw(backend.port, request.sent({}))[0].split(" ")[1] == "400"
    assert hetzner.resolve(host) == []
    assert f"A request from {CALLER} can't be read" in backend.output


@pytest.mark.parametrize(
    ("version", "length"), [("1.0", ""), ("1.1", "Content-Length: 0"), ("1.1", "Content-Length: 7")]
)
def test_a_body_that_is_longer_than_its_length_is_refused(
    backend: Backend, hetzner: Hetzner, version: str, length: str
) -> None:
    host = next(_free)
    before = len(backend.output)
    head = get(f"hostname={host}", basic(f"{host}:{KEY}".encode())).sent({})
    head = head.replace(b"GET", b"POST").replace(b"HTTP/1.1", f"HTTP/{version}".encode())
    if length:
        head = head.replace(b"\r\n\r\n", f"\r\n{length}\r\n\r\n".encode())
    assert raw(backend.port, head + f"myip={V4}".encode())[0].split(" ")[1] == "400"
    assert hetzner.resolve(host) == []
    assert f"A request from {CALLER} can't be read" in backend.output[before:]
    # A line end behind a body is no part of it.
    head = head.replace(b"Content-Length: 7", b"Content-Length: 0")
    assert raw(backend.port, head + b"\r\n")[2] == f"good {CALLER}\n".encode()


def test_an_incomplete_body_is_refused_despite_a_cached_answer(backend: Backend) -> None:
    host = next(_free)
    body = f'{{"fqdn": "{host}", "ip": "{V4}"}}'
    for _ in range(3):
        assert raw(backend.port, post(body).sent({}))[0].split(" ")[1] == "200"
    request = post(body).sent({})
    length = f"Content-Length: {len(body)}".encode()
    request = request.replace(length, f"Content-Length: {len(body) + 1}".encode())
    assert raw(backend.port, request)[0].split(" ")[1] == "400"
    assert f"Refused a POST request to /update from {CALLER} (400" in backend.output


def test_deep_json_is_no_crash(backend: Backend) -> None:
    host = next(_free)
    body = f'{{"fqdn": "{host}", "x": ' + '{"a":' * 2000 + "1" + "}" * 2001
    # How deep an object may be depends on the version of Python.
    assert raw(backend.port, post(body).sent({}))[0].split(" ")[1] in ("200", "400", "401")
    assert "Traceback" not in backend.output
