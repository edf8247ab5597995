"""/nic/update: rejected requests, with status and word."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http.conftest import Serve
from tests.http.service import (
    HOME,
    NAS,
    NOWHERE,
    OPERATOR,
    Service,
    basic,
    key_of,
    said,
)

KEY = key_of(HOME)
LOGIN = {"Authorization": basic("home", KEY)}
ANY = {"hostname": HOME, "myip": "198.51.100.1"}

BADAUTH = (401, b"badauth\n")
NOHOST = (404, b"nohost\n")
NOTFQDN = (400, b"notfqdn\n")
DNSERR = (400, b"dnserr\n")


def named(name: str) -> dict[str, Any]:
    return {"query_string": {**ANY, "hostname": name}, "headers": LOGIN}


def at(myip: str, **query: str) -> dict[str, Any]:
    return {"query_string": {**ANY, "myip": myip, **query}, "headers": LOGIN}


def raw(query: str, **options: object) -> dict[str, Any]:
    return {"query_string": query, "headers": LOGIN, **options}


def detected(peer: str) -> dict[str, Any]:
    return {"query_string": {"hostname": HOME}, "headers": LOGIN, "peer": peer}


def login(user: str, password: str, **query: str) -> dict[str, Any]:
    return {"query_string": {**ANY, **query}, "headers": {"Authorization": basic(user, password)}}


def authorization(value: str) -> dict[str, Any]:
    return {"query_string": ANY, "headers": {"Authorization": value}}


def in_query(**query: str) -> dict[str, Any]:
    return {"query_string": {**ANY, **query}}


REJECTIONS = {
    "no credentials": ({"query_string": ANY}, BADAUTH),
    "no credentials and no parameters": ({}, BADAUTH),
    "no credentials and no host name": ({"query_string": {"hostname": "nonsense"}}, BADAUTH),
    "a wrong key": (login("home", "wrong"), BADAUTH),
    "no key": (login("home", ""), BADAUTH),
    "no user and a wrong key": (login("", "wrong"), BADAUTH),
    "an unknown user": (login("nobody", KEY), BADAUTH),
    "a user with an empty label": (login("home..", KEY), BADAUTH),
    "the key of another host": (login("home", key_of(NAS)), BADAUTH),
    "the user of another host": (login("nas", KEY), BADAUTH),
    "a wrong key for a host that isn't registered": (
        login("home", "wrong", hostname="foreign.example.com"),
        BADAUTH,
    ),
    "a wrong key without a host": (login("home", "wrong", hostname=""), BADAUTH),
    "the operator with a wrong password": (login(OPERATOR[0], "wrong"), BADAUTH),
    "Basic alone": (authorization("Basic"), BADAUTH),
    "Basic that isn't base64": (authorization("Basic %%%"), BADAUTH),
    "Basic without a colon": (authorization("Basic aG9tZQ=="), BADAUTH),
    "Basic that is binary": (authorization("Basic //79/A=="), BADAUTH),
    "Bearer with a wrong key": (authorization("Bearer wrong"), BADAUTH),
    "a header of blanks": (authorization("   "), BADAUTH),
    "a wrong key in the query": (in_query(user="home", **{"pass": "wrong"}), BADAUTH),
    "a user without a key in the query, twice": (in_query(user="home", username="home"), BADAUTH),
    "a user without a key in the query": (in_query(user="home"), BADAUTH),
    "a wrong key without a user in the query": (in_query(password="wrong"), BADAUTH),
    "a registered host of another key": (named(NAS), NOHOST),
    "a host that isn't registered": (named("foreign.example.com"), NOHOST),
    "a host without a zone": (named("example.edu"), NOHOST),
    "the operator for a host that isn't registered": (
        login(*OPERATOR, hostname="foreign.example.com"),
        NOHOST,
    ),
    "the operator without a host": (login(*OPERATOR, hostname=""), NOTFQDN),
    "one label": (named("home"), NOTFQDN),
    "an underscore": (named("_home.example.com"), NOTFQDN),
    "an empty label": (named("home..example.com"), NOTFQDN),
    "a leading hyphen": (named("-home.example.com"), NOTFQDN),
    "300 characters": (named("a." * 144 + "example.com"), NOTFQDN),
    "an address for a name": (named("198.51.100.1"), NOTFQDN),
    "a URL": (named("http://home.example.com/"), NOTFQDN),
    "a placeholder for a name": (named("<domain>"), NOTFQDN),
    "a semicolon": (named("home.example.com;nas.example.com"), NOTFQDN),
    "invalid UTF-8 in a name": (raw("hostname=h%FFme.example.com&myip=198.51.100.1"), NOTFQDN),
    "a NUL in a name": (raw("hostname=home%00.example.com&myip=198.51.100.1"), NOTFQDN),
    "a surrogate in a name": (raw("hostname=%ED%A0%80.example.com&myip=198.51.100.1"), NOTFQDN),
    "garbage": (at("nonsense"), DNSERR),
    "three numbers": (at("198.51.100"), DNSERR),
    "leading zeros": (at("198.051.100.001"), DNSERR),
    "a scope": (at("fe80::1%eth0"), DNSERR),
    "link-local": (at("fe80::1"), DNSERR),
    "link-local IPv4": (at("169.254.1.1"), DNSERR),
    "multicast": (at("224.0.0.1"), DNSERR),
    "broadcast": (at("255.255.255.255"), DNSERR),
    "mapped and unspecified": (at("::ffff:0.0.0.0"), DNSERR),
    "a network": (at("198.51.100.0/24"), DNSERR),
    "a link-local network": (at("fe80::/64"), DNSERR),
    "a host part": (at("::211:32ff:fe11:2233"), DNSERR),
    "this network": (at("0.1.2.3"), DNSERR),
    "an invalid length": (at("198.51.100.1/33"), DNSERR),
    "an invalid prefix": (at("", ip6lanprefix="nonsense"), DNSERR),
    "only garbage": (at("nonsense,fe80::1", myipv6="2001:db8::%1"), DNSERR),
    "invalid UTF-8 for an address": (raw(f"hostname={HOME}&myip=%FF"), DNSERR),
    "detected, loopback": (detected("127.0.0.1"), DNSERR),
    "detected, 10/8": (detected("10.0.0.9"), DNSERR),
    "detected, 192.168/16": (detected("192.168.1.1"), DNSERR),
    "detected, CGNAT": (detected("100.64.0.1"), DNSERR),
    "detected, ULA": (detected("fd00::9"), DNSERR),
    "detected, link-local": (detected("fe80::9"), DNSERR),
    "21 hosts": (named(",".join([HOME] * 21)), (400, b"numhost\n")),
    "21 hosts in 21 parameters": (raw("&".join([f"hostname={HOME}"] * 21)), (400, b"numhost\n")),
    "a form of 1 MB": (
        {
            "method": "POST",
            "data": b"hostname=" + b"x" * 1_000_000,
            "content_type": "application/x-www-form-urlencoded",
            "headers": LOGIN,
        },
        (413, b"dnserr\n"),
    ),
}


@pytest.mark.parametrize("path", ["/nic/update", "//nic/update", "/v3/update"])
@pytest.mark.parametrize(
    ("options", "expected"), [pytest.param(*case, id=name) for name, case in REJECTIONS.items()]
)
def test_a_rejected_request_has_no_effect(
    untouched: Service, path: str, options: dict[str, Any], expected: tuple[int, bytes]
) -> None:
    options = dict(options)
    method = options.pop("method", "GET")
    assert said(untouched.asks(method, path, **options)) == expected


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "UPDATE"])
def test_another_method_is_badagent(untouched: Service, method: str) -> None:
    answer = untouched.asks(method, "/nic/update", query_string=ANY, headers=LOGIN)
    assert said(answer) == (405, b"badagent\n")
    assert answer.headers["Allow"] == "GET, POST"


def test_options_is_another_method(untouched: Service) -> None:
    assert said(untouched.asks("OPTIONS", "/nic/update")) == (405, b"badagent\n")


@pytest.mark.parametrize("path", ["/nic/update%20http:/home", "/nic/update.php", "/nic/delete"])
def test_an_unknown_path_is_answered_in_plain_text(untouched: Service, path: str) -> None:
    answer = untouched.asks("GET", path, query_string=ANY, headers=LOGIN)
    assert (answer.status_code, answer.mimetype) == (404, "text/plain")


def test_foreign_and_unknown_hosts_get_identical_answers(
    untouched: Service,
) -> None:
    foreign = untouched.asks("GET", "/nic/update", **named("foreign.example.com"))
    others = untouched.asks("GET", "/nic/update", **named(NAS))
    assert foreign.data == others.data
    assert list(foreign.headers) == list(others.headers)


def test_an_unknown_user_and_a_wrong_key_get_identical_answers(
    untouched: Service,
) -> None:
    unknown = untouched.asks("GET", "/nic/update", **login("nobody", KEY))
    wrong = untouched.asks("GET", "/nic/update", **login("home", "wrong"))
    assert unknown.data == wrong.data
    assert list(unknown.headers) == list(wrong.headers)


def test_a_host_without_a_zone_is_dnserr_with_status_502(service: Service) -> None:
    router = service.router(NOWHERE)
    headers = {"Authorization": basic(NOWHERE, key_of(NOWHERE))}
    answer = router.asks("GET", {**ANY, "hostname": NOWHERE}, headers=headers)
    assert said(answer) == (502, b"dnserr\n")


def test_the_operator_may_allow_detected_private_addresses(serve: Serve) -> None:
    router = serve(ALLOW_PRIVATE_ADDRESSES="1").router()
    answer = router.asks("GET", {"hostname": HOME}, peer="192.168.1.9")
    assert said(answer) == (200, b"good 192.168.1.9\n")
