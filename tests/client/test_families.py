from __future__ import annotations

import socket

import pytest

from .conftest import ClientFor, Clock, Lines, resolve
from .fake_backend import FakeBackend, bad, good


@pytest.fixture(params=[("::1", "127.0.0.1"), ("127.0.0.1", "::1")], ids=["v6-first", "v4-first"])
def either_order(
    request: pytest.FixtureRequest, dual: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> FakeBackend:
    """Resolve the name to its addresses in both orders."""
    resolve(monkeypatch, *request.param)
    return dual


@pytest.mark.parametrize(
    ("types", "calls"),
    [
        ("", [("A", "127.0.0.1")]),
        ("AAAA", [("AAAA", "::1")]),
        ("A,AAAA", [("A", "127.0.0.1"), ("AAAA", "::1")]),
    ],
)
def test_each_type_is_detected_over_its_own_ip_version(
    either_order: FakeBackend,
    client_for: ClientFor,
    clock: Clock,
    types: str,
    calls: list[tuple[str, str]],
) -> None:
    either_order.set_answers(good("198.51.100.7"))
    client = client_for(either_order.url, RECORD_TYPES=types)
    assert client.round()
    clock.now += 60
    assert client.round()
    assert [(request.body["type"], request.peer) for request in either_order.requests] == calls * 2


def test_one_version_failing_does_not_stop_the_other(
    dual: FakeBackend, client_for: ClientFor, lines: Lines
) -> None:
    dual.by_peer = {"127.0.0.1": bad(503, "unavailable"), "::1": good("2001:db8::1")}
    assert not client_for(dual.url, RECORD_TYPES="A,AAAA").round()
    failed, went_well = lines()
    assert failed.startswith("WARNING host.example.com A: the backend answered 503")
    assert went_well == "INFO host.example.com AAAA: 2001:db8::1 (unchanged)"


def test_with_a_given_address_any_connection_will_do(
    dual: FakeBackend, client_for: ClientFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve(monkeypatch, "::1")
    dual.set_answers(good("198.51.100.7"))
    assert client_for(dual.url, IP="198.51.100.7").round()
    assert [request.peer for request in dual.requests] == ["::1"]


@pytest.mark.parametrize(
    ("addresses", "logged"),
    [
        (["::1"], "backend.test has no IPv4 address, so it can't see yours; set RECORD_TYPES to"),
        ([], "backend.test can't be resolved"),
    ],
)
def test_a_name_without_the_address_is_reported(
    client_for: ClientFor,
    lines: Lines,
    monkeypatch: pytest.MonkeyPatch,
    addresses: list[str],
    logged: str,
) -> None:
    resolve(monkeypatch, *addresses)
    assert not client_for("http://backend.test:1").round()
    assert logged in lines()[0]


def test_an_ipv6_literal_cannot_show_an_ipv4_address(client_for: ClientFor, lines: Lines) -> None:
    assert not client_for("http://[::1]:1").round()
    assert "::1 has no IPv4 address, so it can't see yours; set RECORD_TYPES to AAAA" in lines()[0]


def test_the_reported_reason_is_the_refusal(
    client_for: ClientFor, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reported reason is the refusal over IPv4, not the unsuitable IPv6 address after it."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        resolve(monkeypatch, "127.0.0.1", "::1")
        assert not client_for(f"http://backend.test:{port}").round()
    assert "backend.test can't be reached over IPv4; check that the backend runs" in lines()[0]


def test_a_given_address_without_a_backend_url_is_reported(
    client_for: ClientFor, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve(monkeypatch)
    assert not client_for("http://backend.test:1", IP="198.51.100.7").round()
    assert "backend.test can't be resolved" in lines()[0]
