"""Any request to /nic/update: no crash, no write without a key, no forbidden address."""

from __future__ import annotations

import ipaddress
import json
from typing import Any, Iterator
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from werkzeug.test import TestResponse

from sandbox import Sandbox
from tests.http.service import HOME, NAS, OPERATOR, Service, basic, key_of

KEY = key_of(HOME)
STATUSES = {200, 400, 401, 404, 405, 413, 429, 502, 503}
WORDS = ("good", "nochg", "badauth", "nohost", "notfqdn", "numhost", "dnserr", "abuse", "badagent")

names = st.sampled_from(
    [HOME, NAS, "HOME.example.com.", "home", "x.example.com", "", "*", "<domain>"]
)
numbers = st.integers(0, 2**128 - 1)
addresses = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
    st.ip_addresses(v=6).map(lambda ip: ip.exploded.upper()),
    st.ip_addresses(v=4).map(lambda ip: f"::ffff:{ip}"),
    st.builds("{}/{}".format, st.ip_addresses().map(str), st.integers(0, 130)),
    numbers.map(lambda bits: f"{ipaddress.IPv6Address(bits >> 64 << 64)}/64"),
    st.sampled_from(
        [
            *("0.0.0.0", "::", "::1", "fe80::1%eth0", "ff02::1", "224.0.0.1", "169.254.1.1"),  # noqa: S104
            *("255.255.255.255", "2001:db8:1:2::", "2001:db8:1:2::/64", "::/0", "0.1.2.3", "::5"),
            *("%IP%", "<ipaddr>", "auto", "198.51.100.1", "198.051.100.1", "10.0.0.1", "240.0.0.1"),
        ]
    ),
)
texts = st.one_of(addresses, names, st.text(max_size=20))
lists = st.lists(texts, max_size=4).map(",".join)
parameters = st.sampled_from(
    [
        *("myip", "myip", "myipv4", "ip", "ipv4", "ip4", "myipv6", "ipv6", "ip6", "myip6", "myip2"),
        *(
            "ip6lanprefix",
            "ipv6prefix",
            "MYIP",
            "hostname",
            "HOSTNAME",
            "offline",
            "wildcard",
            "mx",
        ),
    ]
)
pairs = st.lists(st.tuples(st.one_of(parameters, st.text(max_size=8)), lists), max_size=6)
# In any encoding, and none.
escaped = pairs.map(lambda found: "&".join(f"{quote(name)}={quote(text)}" for name, text in found))
unescaped = pairs.map(lambda found: "&".join(f"{name}={text}" for name, text in found))
junk = st.binary(max_size=60).map(lambda sent: sent.decode("latin-1"))
queries = st.one_of(escaped, unescaped, junk)
wires = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=30)
headers = st.dictionaries(
    st.sampled_from(["X-Real-Ip", "X-Forwarded-For", "User-Agent", "Accept", "Forwarded"]),
    st.one_of(addresses, wires),
    max_size=3,
)
peers = st.one_of(st.ip_addresses().map(str), st.just("10.0.0.1"), st.sampled_from(["", "unix:"]))
methods = st.sampled_from(["GET", "GET", "GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS"])
paths = st.sampled_from(["/nic/update", "/nic/update/", "//nic//update", "/v3/update", "/nic/x"])
logins = st.one_of(
    st.just(""),
    wires,
    st.just(basic("home", "wrong")),
    st.builds(basic, st.text(max_size=9), st.text(max_size=9)),
    st.just(basic(HOME, KEY[:-1])),
)
EASY = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def service(
    running_sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    running_sandbox.reset()
    service = Service(
        running_sandbox,
        tmp_path_factory.mktemp("properties"),
        IPV6_INTERFACE_IDS=f"{HOME}=::5",
        AUTH_FAILURE_LIMIT="1000000",
    )
    yield service
    service.stop()


def sends(  # noqa: PLR0913
    service: Service, query: str, *, method: str, path: str, peer: str, headers: dict[str, str]
) -> TestResponse:
    """Send the parameters in the query, or in the body; `asks` checks the form of the answer."""
    options: dict[str, Any] = {"headers": {n: " ".join(v.split()) for n, v in headers.items()}}
    if method == "POST":
        options["data"] = query.encode("utf-8", "replace")
        options["content_type"] = "application/x-www-form-urlencoded"
    # As a WSGI server passes it on: one character for each byte.
    sent = query.encode("utf-8").decode("latin-1")
    options["environ_overrides"] = {"QUERY_STRING": sent}
    return service.asks(method, path, peer, **options)


def check(answer: TestResponse) -> None:
    """Check that the answer is no crash and no page, and has a word of dyndns2 in every line."""
    assert answer.status_code in STATUSES
    for line in answer.data.splitlines():
        assert line.decode("ascii").split(" ")[0] in (*WORDS, "911")


def published(sandbox: Sandbox) -> list[tuple[str, str]]:
    return [
        (kind, address)
        for host in (HOME, NAS)
        for kind in ("A", "AAAA")
        for address in sandbox.records(host, kind)
    ]


def problem(kind: str, text: str) -> str:
    """Return why an address is forbidden in DNS, by other code than that of the service."""
    ip = ipaddress.ip_address(text)
    if (ip.version == 4) != (kind == "A"):
        return "in the wrong record"
    if ip.version == 4:
        first, second = ip.packed[:2]
        is_bad = first == 0 or first >= 224 or (first, second) == (169, 254)
        return "not one machine's" if is_bad else ""
    if ip.packed[8:] == bytes(8) or ip.packed[:2] >= b"\xff\x00" or "%" in text:
        return "a prefix, a group or a scope"
    if b"\xfe\x80" <= ip.packed[:2] <= b"\xfe\xbf" or ip.packed[:12] == bytes(10) + b"\xff\xff":
        return "link-local or mapped"
    return "no prefix" if ip.packed[:8] == bytes(8) and int(ip) != 1 else ""


@EASY
@given(query=queries, method=methods, path=paths, peer=peers, headers=headers, login=logins)
def test_requests_without_a_key_have_no_effect(  # noqa: PLR0913, PLR0917
    service: Service,
    query: str,
    method: str,
    path: str,
    peer: str,
    headers: dict[str, str],
    login: str,
) -> None:
    if login:
        headers = {**headers, "Authorization": login}
    service.calls()
    before = service.states()
    answer = sends(service, query, method=method, path=path, peer=peer, headers=headers)
    check(answer)
    assert answer.status_code in (400, 401, 404, 405)
    assert service.calls() == []
    assert service.states() == before


@EASY
@given(
    query=queries,
    method=methods,
    path=paths,
    peer=peers,
    headers=headers,
    login=st.sampled_from([basic("home", KEY), basic(*OPERATOR)]),
)
def test_a_key_holder_cannot_break_the_rules_of_dns(  # noqa: PLR0913, PLR0917
    service: Service,
    query: str,
    method: str,
    path: str,
    peer: str,
    headers: dict[str, str],
    login: str,
) -> None:
    headers = {**headers, "Authorization": login}
    answer = sends(service, query, method=method, path=path, peer=peer, headers=headers)
    check(answer)
    records = published(service.sandbox)
    assert [(record, problem(*record)) for record in records if problem(*record)] == []
    # Every address in the answer is valid, too.
    for line in answer.data.decode("ascii").splitlines():
        for address in line.split(" ")[1].split(",") if " " in line else []:
            assert not problem("AAAA" if ":" in address else "A", address)


@EASY
@given(query=queries, peer=peers, headers=headers)
def test_a_key_of_one_host_writes_no_other(
    service: Service, query: str, peer: str, headers: dict[str, str]
) -> None:
    before = service.sandbox.records(NAS, "A"), service.sandbox.records(NAS, "AAAA")
    headers = {**headers, "Authorization": basic("home", KEY)}
    sends(service, query, method="GET", path="/nic/update", peer=peer, headers=headers)
    assert (service.sandbox.records(NAS, "A"), service.sandbox.records(NAS, "AAAA")) == before


@EASY
@given(address=addresses, login=st.sampled_from([basic("home", KEY)]), method=st.just("GET"))
def test_an_address_answered_with_good_is_in_dns(
    service: Service, address: str, login: str, method: str
) -> None:
    query = f"hostname={HOME}&myip={quote(address)}"
    headers = {"Authorization": login}
    answer = sends(
        service, query, method=method, path="/nic/update", peer="203.0.113.9", headers=headers
    )
    check(answer)
    if answer.status_code == 200:
        told = answer.data.decode("ascii").split()[1].split(",")
        for one in told:
            kind = "AAAA" if ":" in one else "A"
            assert service.sandbox.records(HOME, kind) == [one]


CALLER = "203.0.113.250"
public = st.one_of(
    st.integers(1, 254).map(lambda n: f"198.51.100.{n}"),
    st.integers(1, 2**64 - 1).map(lambda n: str(ipaddress.IPv6Address((0x20010DB8 << 96) + n))),
)
wrapped = st.sampled_from(
    [
        *("{}", "{}", " {} ", "[{}]", "{};", "ip={}", '"{}"', "<{}>", "({})", "{}/128", "x {}"),
        *("'{}'", "x?myip={}", KEY + "?myip={}", "%20{}"),
    ]
)
any_name = st.one_of(
    parameters.filter(lambda name: "prefix" not in name),  # joined with the host part
    st.sampled_from(["wan", "Address", "amp;myip", "my-ip", "new_ip", "ip1", "url", "a.b", "fqdn"]),
    st.sampled_from(["user", "username", "pass", "password"]),
    st.text(min_size=1, max_size=8),
)
places = st.sampled_from(["query", "bare", "form", "object", "nested", "list", "text", "xml"])
FORM = "application/x-www-form-urlencoded"
content_types = st.sampled_from(
    [
        "",
        "text/plain",
        "application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
    ]
)


@EASY
@given(
    address=public,
    wrapping=wrapped,
    name=any_name,
    place=places,
    path=st.sampled_from(["/nic/update", "/update"]),
    content_type=content_types,
)
def test_an_address_anywhere_is_published_or_refused(  # noqa: PLR0913, PLR0917
    service: Service,
    address: str,
    wrapping: str,
    name: str,
    place: str,
    path: str,
    content_type: str,
) -> None:
    value = wrapping.format(address)
    query, body = {"hostname": HOME}, ""
    if place == "query":
        query = {**query, name: value}
    elif place == "bare":
        query = {**query, value: ""}
    else:
        body = {
            "form": f"{quote(name)}={quote(value)}",
            "object": json.dumps({name: value}),
            "nested": json.dumps({name: [{"a": value}]}),
            "list": json.dumps([value]),
            "text": value,
            "xml": f"<a {name!r}={value}/>",
        }[place]
    answer = service.asks(
        "POST",
        path,
        CALLER,
        query_string=query,
        data=body.encode("utf-8", "surrogatepass"),
        content_type=content_type,
        headers={"Authorization": basic("home", KEY)},
    )
    text = answer.get_data(as_text=True)
    assert answer.status_code >= 400 or (address in text and CALLER not in text)
