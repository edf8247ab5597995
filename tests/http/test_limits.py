"""Requests that no regular client sends are refused before they cause much work."""

from __future__ import annotations

import logging

import pytest

from tests.http.service import HOME, Host, Router, Service, key_of, refused, said

MANY = {f"field{number}": "x" for number in range(200)}


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_a_body_of_more_than_16_kib_is_too_large(untouched: Service, method: str) -> None:
    for kind in ("application/json", "application/x-www-form-urlencoded", "text/plain"):
        answer = untouched.asks(method, "/update", data=b"x" * 16385, content_type=kind)
        assert refused(answer) == (413, "too_large")


@pytest.mark.parametrize(
    ("method", "path", "size", "status"),
    [("PUT", "/nic/update", 2, 405), ("POST", "/update", 16385, 413)],
)
def test_an_update_that_is_refused_unread_is_a_warning(  # noqa: PLR0913, PLR0917
    service: Service,
    caplog: pytest.LogCaptureFixture,
    method: str,
    path: str,
    size: int,
    status: int,
) -> None:
    headers = {"X-Real-Ip": "203.0.113.50"}
    for _ in range(20):
        service.asks(method, path, "10.0.0.1", data=b"x" * size, headers=headers)
    expected = f"Refused a {method} request to {path} from 203.0.113.50 ({status} "
    assert 1 <= sum(line.startswith(expected) for line in caplog.messages) <= 5


def test_dyndns2_refuses_a_form_above_16_kib(untouched: Service) -> None:
    answer = untouched.asks("POST", "/nic/update", data={"hostname": HOME, "x": "x" * 16385})
    assert said(answer) == (413, b"dnserr\n")


def test_more_parameters_than_any_router_sends_are_refused(untouched: Service) -> None:
    router = untouched.router()
    assert said(router.asks("GET", {"hostname": HOME, **MANY})) == (400, b"dnserr\n")
    assert said(router.asks("POST", "", data={"hostname": HOME, **MANY})) == (400, b"dnserr\n")
    assert said(router.asks("GET", "&" * 200)) == (400, b"dnserr\n")


def test_more_fields_than_any_update_has_are_refused(untouched: Service) -> None:
    host = untouched.host()
    assert refused(host.updates("198.51.100.1", **MANY)) == (400, "bad_request")
    form = {"fqdn": HOME, **MANY}
    answer = untouched.asks("POST", "/update", data=form, headers=host.headers)
    assert refused(answer) == (400, "bad_request")


def test_more_parts_than_any_form_has_are_refused(untouched: Service) -> None:
    form = {"fqdn": HOME, **dict.fromkeys(MANY, "")}
    options = {"data": form, "content_type": "multipart/form-data; boundary=b"}
    answer = untouched.asks("POST", "/nic/update", **options)
    assert said(answer) == (413, b"dnserr\n")


@pytest.mark.parametrize("number", [1, 21])
def test_more_than_twenty_hosts_in_a_request_are_refused(router: Router, number: int) -> None:
    names = ",".join([HOME] * number)
    answer = router.asks("GET", {"hostname": names, "myip": "198.51.100.1"})
    assert said(answer) == ((200, b"good 198.51.100.1\n") if number == 1 else (400, b"numhost\n"))


@pytest.mark.parametrize("body", [b"[" * 16000, b'{"fqdn":' * 2000, b'{"fqdn": ' + b"9" * 16000])
def test_hostile_json_is_refused(untouched: Service, body: bytes) -> None:
    headers = {"X-Pre-Shared-Key": key_of(HOME)}
    answer = untouched.asks("POST", "/update", data=body, headers=headers)
    assert refused(answer) == (400, "bad_request")


@pytest.mark.parametrize(
    ("place", "logged"), [("", "/… -> 404"), ("hosts/", "/hosts/<name> -> 401")]
)
def test_a_path_cannot_forge_a_line_of_the_log(
    host: Host, service: Service, caplog: pytest.LogCaptureFixture, place: str, logged: str
) -> None:
    with caplog.at_level(logging.DEBUG), service.app.test_client() as client:
        client.get(f"/{place}x%0a2030-01-01T00:00:00Z%20ERROR%20forged")
        host.updates("198.51.100.1")
    assert f"GET {logged}" in caplog.text
    assert "\n2030" not in caplog.text


@pytest.mark.parametrize("place", ["", "hosts/", "static/x/"])
def test_a_key_in_a_path_is_not_logged(
    service: Service, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    with caplog.at_level(logging.DEBUG), service.app.test_client() as client:
        client.get(f"/{place}{key_of(HOME)}")
    assert key_of(HOME) not in caplog.text


def test_a_host_named_twice_is_updated_once_and_answered_twice(
    service: Service, router: Router
) -> None:
    names = f"{HOME},{HOME.upper()}.,nothing,{HOME},nothing"
    answer = router.asks("GET", {"hostname": names, "myip": "198.51.100.1"})
    good = b"good 198.51.100.1\n"
    assert said(answer) == (200, good + good + b"notfqdn\n" + good + b"notfqdn\n")
    assert len(service.calls()) == 3, "the zones, a read, a write"
    answer = router.asks("GET", {"hostname": f"{HOME},{HOME}", "myip": "198.51.100.1"})
    assert said(answer) == (200, b"nochg 198.51.100.1\n" * 2)
    events = [row["event"] for row in service.rows("history")]
    assert events == ["rejected", "created"]


@pytest.mark.parametrize("name", ["myip", "ip6lanprefix", "myipv6"])
@pytest.mark.parametrize("value", ["x", "198.51.100.1", "2001:db8::1"])
def test_more_than_twenty_addresses_are_refused_unread(
    untouched: Service, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setattr("backend.auth.addresses.read", None)  # a call of it would fail
    router = untouched.router()
    many = {"hostname": ",".join([HOME] * 20), name: ",".join([value] * 21)}
    assert said(router.asks("GET", many)) == (400, b"dnserr\n")
    form = {
        "data": f"hostname={HOME}&{name}=" + f"{value}," * (15000 // (len(value) + 1)),
        "content_type": "application/x-www-form-urlencoded",
    }
    assert said(router.asks("POST", "", **form)) == (400, b"dnserr\n")
    spread = {"hostname": HOME, "myip": ["198.51.100.1"] * 20, "ip6prefix": "2001:db8::/64"}
    assert said(router.asks("GET", spread)) == (400, b"dnserr\n")


def test_twenty_addresses_are_read(router: Router) -> None:
    query = {"hostname": HOME, "myip": ",".join(["x"] * 19 + ["198.51.100.1"])}
    assert said(router.asks("GET", query)) == (200, b"good 198.51.100.1\n")


def test_many_addresses_in_one_field_are_no_address(untouched: Service) -> None:
    answer = untouched.host().updates("198.51.100.1," * 1200)
    assert refused(answer) == (400, "invalid_ip")
