"""POST and DELETE /update: rejected requests and their answers."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from tests.http.conftest import Serve
from tests.http.service import (
    HOME,
    NAS,
    NOWHERE,
    OPERATOR,
    PEER,
    Service,
    basic,
    key_of,
    refused,
)

KEY = {"X-Pre-Shared-Key": key_of(HOME)}
FORM = "application/x-www-form-urlencoded"


def raw(
    body: bytes, content_type: str | None = "application/json", **options: object
) -> dict[str, Any]:
    return {"data": body, "content_type": content_type, "headers": KEY, **options}


def fields(**fields: object) -> dict[str, Any]:
    return {"json": {"fqdn": HOME, "ip": "198.51.100.1", **fields}, "headers": KEY}


def named(name: str) -> dict[str, Any]:
    return fields(fqdn=name)


def detected(peer: str, **more: object) -> dict[str, Any]:
    return {"json": {"fqdn": HOME, **more}, "headers": KEY, "peer": peer}


def by(headers: dict[str, str], fqdn: str = HOME) -> dict[str, Any]:
    return {"json": {"fqdn": fqdn, "ip": "198.51.100.1"}, "headers": headers}


def login(user: str, password: str, fqdn: str = HOME) -> dict[str, Any]:
    return by({"Authorization": basic(user, password)}, fqdn)


def authorization(value: str) -> dict[str, Any]:
    return by({"Authorization": value})


BAD_REQUEST = (400, "bad_request")
MISSING = (400, "missing_fqdn")
BAD_NAME = (400, "invalid_fqdn")
BAD_IP = (400, "invalid_ip")
BAD_TYPE = (400, "invalid_type")
MISMATCH = (400, "ip_version_mismatch")
PRIVATE = (400, "private_address")
UNAUTHORIZED = (401, "unauthorized")
NOT_ALLOWED = (403, "fqdn_not_allowed")
TOO_LARGE = (413, "too_large")

REJECTIONS = {
    "a list": (raw(b'["home.example.com"]'), BAD_REQUEST),
    "an empty list": (raw(b"[]"), BAD_REQUEST),
    "a number": (raw(b"4711"), BAD_REQUEST),
    "a number of 5000 digits": (raw(b'{"fqdn":' + b"9" * 5000 + b"}"), BAD_REQUEST),
    "null": (raw(b"null"), BAD_REQUEST),
    "true": (raw(b"true"), BAD_REQUEST),
    "a text": (raw(b'"home.example.com"'), BAD_REQUEST),
    "16 KiB of opening brackets": (raw(b"[" * 16384), BAD_REQUEST),
    "16 KiB of nested objects": (raw(b'{"a":' * 3276), BAD_REQUEST),
    "valid deep nesting": (raw(b"[" * 8000 + b"]" * 8000), BAD_REQUEST),
    "half an object": (raw(b'{"fqdn":"home.example.com"'), BAD_REQUEST),
    "two objects": (raw(b"{}{}"), BAD_REQUEST),
    "Latin-1": (raw(b'{"fqdn":"h\xffme.example.com"}'), UNAUTHORIZED),
    "half a UTF-16 object": (raw('{"fqdn":"home.example.com"'.encode("utf-16")), BAD_REQUEST),
    "binary": (raw(bytes(range(256)), "application/octet-stream"), BAD_REQUEST),
    "an address alone": (raw(b"198.51.100.1", None), BAD_REQUEST),
    "XML": (raw(b"<update ip='198.51.100.1'/>", "text/xml"), BAD_REQUEST),
    "YAML": (raw(b"fqdn: home.example.com", None), BAD_REQUEST),
    "compressed": (raw(gzip.compress(b'{"fqdn":"home.example.com"}')), BAD_REQUEST),
    "no body": (raw(b""), MISSING),
    "a blank body": (raw(b" \n"), MISSING),
    "an empty object": (raw(b"{}"), MISSING),
    "an empty form": (raw(b"", FORM), MISSING),
    "a form without fqdn": (raw(b"ip=198.51.100.1", FORM), MISSING),
    "a multipart form without a boundary": (raw(b"--x", "multipart/form-data"), BAD_REQUEST),
    "an empty fqdn": (fields(fqdn=""), MISSING),
    "a blank fqdn": (fields(fqdn=" "), MISSING),
    "fqdn a number": (fields(fqdn=5), BAD_REQUEST),
    "fqdn null": (fields(fqdn=None), BAD_REQUEST),
    "fqdn a list": (fields(fqdn=[HOME]), BAD_REQUEST),
    "fqdn an object": (fields(fqdn={"name": HOME}), BAD_REQUEST),
    "fqdn true": (fields(fqdn=True), BAD_REQUEST),
    "url a number beside fqdn": (fields(url=5), BAD_REQUEST),
    "url a number": ({"json": {"url": 5, "ip": "198.51.100.1"}, "headers": KEY}, BAD_REQUEST),
    "ip a number": (fields(ip=3325256705), BAD_REQUEST),
    "ip null": (fields(ip=None), BAD_REQUEST),
    "ip a list": (fields(ip=["198.51.100.1"]), BAD_REQUEST),
    "type a number": (fields(type=1), BAD_REQUEST),
    "type null": (fields(type=None), BAD_REQUEST),
    "one label": (named("home"), BAD_NAME),
    "an inner blank": (named("ho me.example.com"), BAD_NAME),
    "an inner tab": (named("home\t.example.com"), BAD_NAME),
    "a NUL": (named("home\x00.example.com"), BAD_NAME),
    "an underscore": (named("_home.example.com"), BAD_NAME),
    "a leading hyphen": (named("-home.example.com"), BAD_NAME),
    "a final hyphen": (named("home-.example.com"), BAD_NAME),
    "an empty label": (named("home..example.com"), BAD_NAME),
    "two final dots": (named("home.example.com.."), BAD_NAME),
    "a leading dot": (named(".home.example.com"), BAD_NAME),
    "a dot": (named("."), BAD_NAME),
    "an asterisk alone": (named("*"), BAD_NAME),
    "an inner asterisk": (named("home.*.example.com"), BAD_NAME),
    "half a wildcard": (named("h*.example.com"), BAD_NAME),
    "a label of 64": (named("a" * 64 + ".example.com"), BAD_NAME),
    "300 characters": (named("a." * 144 + "example.com"), BAD_NAME),
    "16000 characters": (named("a." * 8000 + "example.com"), BAD_NAME),
    "an address for a name": (named("198.51.100.1"), BAD_NAME),
    "a URL": (named("https://home.example.com/"), BAD_NAME),
    "a path": (named("home.example.com/../nas"), BAD_NAME),
    "a port": (named("home.example.com:80"), BAD_NAME),
    "a list of names": (named("home.example.com,nas.example.com"), BAD_NAME),
    "a lone surrogate": (raw(b'{"fqdn":"\\ud800.example.com"}'), BAD_NAME),
    "a right-to-left mark": (named("home\u200f.example.com"), BAD_NAME),
    "a word for an ip": (fields(ip="auto"), BAD_IP),
    "a placeholder": (fields(ip="<ipaddr>"), BAD_IP),
    "three numbers": (fields(ip="198.51.100"), BAD_IP),
    "five numbers": (fields(ip="198.51.100.1.1"), BAD_IP),
    "256": (fields(ip="198.51.100.256"), BAD_IP),
    "leading zeros": (fields(ip="198.051.100.001"), BAD_IP),
    "leading zeros in a mapped address": (fields(ip="::ffff:198.051.100.1"), BAD_IP),
    "other digits": (fields(ip="١٩٨.51.100.1"), BAD_IP),
    "a prefix length": (fields(ip="198.51.100.0/24"), BAD_IP),
    "a port after the ip": (fields(ip="198.51.100.1:80"), BAD_IP),
    "half of the brackets": (fields(ip="[2001:db8::5"), BAD_IP),
    "one address valid": (fields(ipv6="nonsense"), BAD_IP),
    "two addresses": (fields(ip="198.51.100.1,198.51.100.2"), BAD_IP),
    "a scope": (fields(ip="fe80::1%eth0"), BAD_IP),
    "a scope on a global address": (fields(ip="2001:db8::5%1"), BAD_IP),
    "link-local": (fields(ip="fe80::1"), BAD_IP),
    "link-local IPv4": (fields(ip="169.254.1.1"), BAD_IP),
    "unspecified": (fields(ip="0.0.0.0"), BAD_IP),  # noqa: S104
    "unspecified IPv6": (fields(ip="::"), BAD_IP),
    "unspecified, mapped": (fields(ip="::ffff:0.0.0.0"), BAD_IP),
    "multicast": (fields(ip="224.0.0.1"), BAD_IP),
    "multicast IPv6": (fields(ip="ff02::1"), BAD_IP),
    "broadcast": (fields(ip="255.255.255.255"), BAD_IP),
    "a network": (fields(ip="198.51.100.0/24"), BAD_IP),
    "a prefix in an A record": (fields(ip="2001:db8:1:2::/64", type="A"), MISMATCH),
    "a lone surrogate for an ip": (raw(b'{"fqdn":"home.example.com","ip":"\\udc00"}'), BAD_IP),
    "type MX": (fields(type="MX"), BAD_TYPE),
    "type CNAME": (fields(type="CNAME"), BAD_TYPE),
    "type A,AAAA": (fields(type="A,AAAA"), BAD_TYPE),
    "type a lone surrogate": (raw(b'{"fqdn":"home.example.com","type":"\\ud800"}'), BAD_TYPE),
    "type A for IPv6": (fields(ip="2001:db8::5", type="A"), MISMATCH),
    "type AAAA for IPv4": (fields(type="AAAA"), MISMATCH),
    "type AAAA for a mapped address": (fields(ip="::ffff:198.51.100.1", type="AAAA"), MISMATCH),
    "type AAAA for the caller's IPv4": (detected(PEER, type="AAAA"), MISMATCH),
    "type A for the caller's IPv6": (detected("2001:db8::77", type="A"), MISMATCH),
    "detected, loopback": (detected("127.0.0.1"), PRIVATE),
    "detected, loopback IPv6": (detected("::1"), PRIVATE),
    "detected, mapped loopback": (detected("::ffff:127.0.0.1"), PRIVATE),
    "detected, 10/8": (detected("10.0.0.9"), PRIVATE),
    "detected, 172.16/12": (detected("172.17.0.1"), PRIVATE),
    "detected, 192.168/16": (detected("192.168.1.1"), PRIVATE),
    "detected, CGNAT": (detected("100.64.0.1"), PRIVATE),
    "detected, ULA": (detected("fd00::9"), PRIVATE),
    "detected, link-local": (detected("fe80::9"), BAD_IP),
    "no key": (by({}), UNAUTHORIZED),
    "no key and no body": ({}, UNAUTHORIZED),
    "an empty key": (by({"X-Pre-Shared-Key": ""}), UNAUTHORIZED),
    "a blank key": (by({"X-Pre-Shared-Key": "  "}), UNAUTHORIZED),
    "a wrong key": (by({"X-Pre-Shared-Key": "wrong"}), UNAUTHORIZED),
    "a wrong key and a bad ip": (
        {"json": {"fqdn": HOME, "ip": "nonsense"}, "headers": {"X-Pre-Shared-Key": "wrong"}},
        UNAUTHORIZED,
    ),
    "a key in Latin-1": (by({"X-Pre-Shared-Key": "schlüssel"}), UNAUTHORIZED),
    "the key of another host": (by({"X-Pre-Shared-Key": key_of(NAS)}), UNAUTHORIZED),
    "a host that isn't registered": (by(KEY, "foreign.example.com"), UNAUTHORIZED),
    "a wrong key in the query": (
        {**by({}), "query_string": {"user": "home", "pass": "wrong"}},
        UNAUTHORIZED,
    ),
    "a login with a wrong key": (login("home", "wrong"), UNAUTHORIZED),
    "a login with no key": (login("home", ""), UNAUTHORIZED),
    "a login with no user and a wrong key": (login("", key_of(NAS)), UNAUTHORIZED),
    "an unknown user": (login("nobody", key_of(HOME)), UNAUTHORIZED),
    "a login of another host": (login("nas", key_of(NAS)), UNAUTHORIZED),
    "a login for a host that isn't registered": (
        login("home", key_of(HOME), "foreign.example.com"),
        UNAUTHORIZED,
    ),
    "the operator with a wrong password": (login(OPERATOR[0], "wrong"), UNAUTHORIZED),
    "the operator's password of another user": (login("home", OPERATOR[1]), UNAUTHORIZED),
    "Basic alone": (authorization("Basic"), UNAUTHORIZED),
    "Basic that isn't base64": (authorization("Basic %%%"), UNAUTHORIZED),
    "Basic without a colon": (authorization("Basic aG9tZQ=="), UNAUTHORIZED),
    "Bearer": (authorization(f"Bearer {key_of(NAS)}"), UNAUTHORIZED),
    "Digest": (authorization('Digest username="home"'), UNAUTHORIZED),
    "the operator for a host that isn't registered": (
        login(*OPERATOR, "foreign.example.com"),
        NOT_ALLOWED,
    ),
    "the operator without a name": (login(*OPERATOR, ""), MISSING),
    "the operator for no host name": (login(*OPERATOR, "home"), BAD_NAME),
    "a body of 16 KiB and a byte": (raw(b" " * 16385), TOO_LARGE),
    "a body of 1 MB": (raw(b"x" * 1_000_000), TOO_LARGE),
    "a form of 1 MB": (raw(b"fqdn=" + b"x" * 1_000_000, FORM), TOO_LARGE),
    "a body of 1 MB without a key": (raw(b"x" * 1_000_000, headers={}), TOO_LARGE),
}


@pytest.mark.parametrize(
    ("options", "expected"),
    [pytest.param(*case, id=name) for name, case in REJECTIONS.items()],
)
def test_a_rejected_request_has_no_effect(
    untouched: Service, options: dict[str, Any], expected: tuple[int, str]
) -> None:
    assert refused(untouched.asks("POST", "/update", **options)) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param(by({}), UNAUTHORIZED, id="no key"),
        pytest.param(by({"X-Pre-Shared-Key": "wrong"}), UNAUTHORIZED, id="a wrong key"),
        pytest.param(by({"X-Pre-Shared-Key": key_of(NAS)}), UNAUTHORIZED, id="another's key"),
        pytest.param(raw(b""), MISSING, id="no body"),
        pytest.param(named("home"), BAD_NAME, id="one label"),
        pytest.param(fields(type="MX"), BAD_TYPE, id="type MX"),
        pytest.param(fields(fqdn=1), BAD_REQUEST, id="fqdn a number"),
        pytest.param(raw(b"x" * 20000), TOO_LARGE, id="too large"),
        pytest.param(login(*OPERATOR, "foreign.example.com"), NOT_ALLOWED, id="not registered"),
    ],
)
def test_a_rejected_removal_has_no_effect(
    untouched: Service, options: dict[str, Any], expected: tuple[int, str]
) -> None:
    assert refused(untouched.asks("DELETE", "/update", **options)) == expected


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "PROPFIND"])
def test_another_method_is_not_allowed(untouched: Service, method: str) -> None:
    answer = untouched.asks(method, "/update", **by(KEY))
    assert answer.status_code == 405
    assert {"DELETE", "POST"} <= set(answer.headers["Allow"].split(", "))
    if method != "HEAD":
        assert refused(answer) == (405, "method_not_allowed")


def test_options_answers_in_the_form_of_the_protocol(untouched: Service) -> None:
    assert refused(untouched.asks("OPTIONS", "/update")) == (405, "method_not_allowed")


@pytest.mark.parametrize("path", ["/updates", "/update/x", "/api/update.php", "/nic", "/%00"])
def test_an_unknown_path_is_not_found(untouched: Service, path: str) -> None:
    assert refused(untouched.asks("POST", path, **by(KEY))) == (404, "not_found")


def test_a_body_of_16_kib_is_still_read(service: Service) -> None:
    text = json.dumps({"fqdn": HOME, "ip": "198.51.100.1"})
    data = text.encode() + b" " * (16 * 1024 - len(text))
    assert service.asks("POST", "/update", **raw(data)).status_code == 200


def test_a_wrong_key_and_an_unknown_host_get_identical_answers(
    untouched: Service,
) -> None:
    wrong = untouched.asks("POST", "/update", **by({"X-Pre-Shared-Key": "wrong"}))
    unknown = untouched.asks("POST", "/update", **by(KEY, "foreign.example.com"))
    assert wrong.data == unknown.data
    assert list(wrong.headers) == list(unknown.headers)


def test_a_private_address_is_reported_with_its_likely_cause(untouched: Service) -> None:
    sentence = untouched.asks("POST", "/update", **detected("172.17.0.1")).get_json()["error"]
    assert "172.17.0.1" in sentence
    assert "X-Real-Ip" in sentence


def test_the_operator_may_allow_detected_private_addresses(serve: Serve) -> None:
    host = serve(ALLOW_PRIVATE_ADDRESSES="1").host()
    assert host.sends("POST", peer="192.168.1.9").get_json()["ip"] == "192.168.1.9"


def test_a_rejected_request_is_no_activity(serve: Serve) -> None:
    service = serve()
    service.asks("POST", "/update", **by({"X-Pre-Shared-Key": "wrong"}))
    service.asks("POST", "/update", **fields(ip="nonsense"))
    service.stop()
    assert service.rows("hosts") == []


def test_a_registered_name_without_a_zone_is_not_found(service: Service) -> None:
    answer = service.host(NOWHERE).updates("198.51.100.1")
    assert refused(answer) == (404, "zone_not_found")
    assert NOWHERE in answer.get_json()["error"]


def test_the_name_is_not_taken_from_the_login(service: Service) -> None:
    headers = {"Authorization": basic("home", key_of(HOME))}
    answer = service.asks("POST", "/update", json={"ip": "198.51.100.1"}, headers=headers)
    assert refused(answer) == (400, "missing_fqdn")
    assert service.calls() == []
