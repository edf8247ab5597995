"""The client stops reading every hostile answer in time and logs one line with the reason."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import re
import socket
import ssl
import warnings
from functools import partial
from typing import Iterator

import pytest
import trustme

from client import update_dns
from client.update_dns import Client, UpdateFailed
from tests.hostile import (
    ANSWERS,
    BROKEN,
    CONNECT_ANSWERS,
    ENDLESS,
    LATE,
    ODD,
    REDIRECT,
    Hostile,
    Servers,
    good,
    together,
    trickled,
)

from .conftest import KEY, ClientFor, Lines, resolve

GOOD = good(json.dumps({"status": "updated", "ip": "198.51.100.7"}).encode())
OVER_TLS = [trickled(*ENDLESS[index]) for index in (0, 1, 4, 7, 13)]
SAID = {
    LATE: "127.0.0.1 accepted the request, but didn't answer within 1 s",
    BROKEN: "127.0.0.1 (sent an invalid HTTP answer|can't be reached over IPv4)",
    ODD: "instead of a JSON object; check BACKEND_URL",
    REDIRECT: r" redirects \(30\d\) to .*, which is (not followed|not a URL)",
}


@contextlib.contextmanager
def limits(connect: float, read: float) -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.lower().endswith("_proxy"):
                patch.delenv(name)
        patch.setattr(update_dns, "CONNECT_SECONDS", connect)
        patch.setattr(update_dns, "READ_SECONDS", read)
        yield patch


def outcome(url: str, **variables: str) -> str:
    """Return the last line that a client logs."""
    given = {"FQDN": "host.example.com", "PRE_SHARED_KEY": KEY, **variables}
    settings, _ = update_dns.read(given, [url])
    try:
        Client(settings).backend.update(settings.records[0])
    except UpdateFailed as error:
        return str(error)
    except Exception as error:  # noqa: BLE001
        return f"a bug: {error!r}"
    return "success"


@pytest.fixture(scope="module")
def outcomes() -> dict[str, str]:
    """Return the client's line for each answer; endless answers are received in parallel."""
    with Servers() as servers:
        at = {one.name: f"http://127.0.0.1:{servers.give(one)}" for one in ANSWERS}
        with limits(10, 1):
            late = [one.name for one in ANSWERS if one.outcome == LATE]
            logged = together({name: partial(outcome, at[name]) for name in late})
        with limits(10, 50):
            logged.update({name: outcome(url) for name, url in at.items() if name not in logged})
    return logged


def test_there_are_many_hostile_answers() -> None:
    assert len({one.name for one in ANSWERS}) == len(ANSWERS) >= 64


@pytest.mark.parametrize("one", ANSWERS, ids=lambda one: one.name)
def test_a_hostile_answer_ends_in_one_clear_line(outcomes: dict[str, str], one: Hostile) -> None:
    assert re.search(SAID[one.outcome], outcomes[one.name])
    assert "\n" not in outcomes[one.name]
    assert KEY not in outcomes[one.name]


def test_an_answer_cut_at_any_byte_is_a_failure() -> None:
    beginnings = (GOOD[:length] for length in range(len(GOOD) + 1))
    with Servers() as servers, limits(10, 50):
        url = f"http://127.0.0.1:{servers.start(lambda _: [next(beginnings)])}"
        logged = [outcome(url) for _ in range(len(GOOD) + 1)]
    assert logged.pop() == "success"
    assert [one for one in logged if one == "success" or "a bug" in one] == []


@pytest.fixture(scope="module")
def tls_outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    authority, bundle = trustme.CA(), tmp_path_factory.mktemp("hostile") / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with Servers(context) as servers, limits(2, 1):
        ports = {one.name: servers.give(one) for one in OVER_TLS}
        ports["good"] = servers.start(lambda _: [GOOD])
        # One record of 12,000 bytes; handshake and tickets take less than 6,000.
        long = servers.start(lambda _: [good(b" " * 12_000)])
        ports["record"] = servers.slow_line(long, spared=6000)
        ports["handshake"] = servers.slow_line(ports["good"], spared=0)
        urls = {name: f"https://127.0.0.1:{port}" for name, port in ports.items()}
        return together(
            {name: partial(outcome, url, CA_BUNDLE=str(bundle)) for name, url in urls.items()}
        )


def test_the_time_limit_holds_over_tls(tls_outcomes: dict[str, str]) -> None:
    assert tls_outcomes["good"] == "success"
    for name in (*(one.name for one in OVER_TLS), "record"):
        assert re.search(SAID[LATE], tls_outcomes[name]), name


def test_a_tls_handshake_that_trickles_is_given_up(tls_outcomes: dict[str, str]) -> None:
    assert "no TLS with 127.0.0.1 within 2 s" in tls_outcomes["handshake"]


@pytest.fixture(scope="module")
def proxy_outcomes() -> dict[str, str]:
    """Return the client's lines for a proxy that answers CONNECT by the requested name."""

    def answer(request: bytes) -> Iterator[bytes]:
        number = re.search(rb"case-(\d+)", request)
        assert number
        return CONNECT_ANSWERS[int(number.group(1))].pieces()

    urls = {one.name: f"https://case-{number}.test" for number, one in enumerate(CONNECT_ANSWERS)}
    with Servers() as servers, limits(1, 50) as patch, warnings.catch_warnings():
        # Before Python 3.12, http.client doesn't close the response to CONNECT.
        warnings.simplefilter("ignore", ResourceWarning)
        patch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{servers.start(answer)}")
        logged = together({name: partial(outcome, url) for name, url in urls.items()})
        gc.collect()
    return logged


@pytest.mark.parametrize("one", CONNECT_ANSWERS, ids=lambda one: one.name)
def test_a_proxys_answer_to_connect_ends_in_one_line(
    proxy_outcomes: dict[str, str], one: Hostile
) -> None:
    logged = proxy_outcomes[one.name]
    assert re.search(r"^the proxy for case-\d+.test failed: .+; check HTTP", logged)
    assert one.outcome != LATE or "timed out" in logged


@pytest.mark.parametrize("ip", ["", "198.51.100.7"])
def test_many_silent_addresses_take_no_longer_than_two(
    client_for: ClientFor, lines: Lines, monkeypatch: pytest.MonkeyPatch, ip: str
) -> None:
    """Linux drops connections to a full queue, so they neither succeed nor fail."""
    monkeypatch.setattr(update_dns, "CONNECT_SECONDS", 0.2)
    resolve(monkeypatch, *["127.0.0.1"] * 300)
    tried: list[str] = []
    real = socket.socket.connect

    def connect(self: socket.socket, address: object) -> None:
        tried.append(str(address))
        real(self, address)  # type: ignore[arg-type]

    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        monkeypatch.setattr(socket.socket, "connect", connect)
        assert not client_for(f"http://backend.test:{full.getsockname()[1]}", IP=ip).round()
    assert "backend.test can't be reached" in lines()[0]
    assert 2 <= len(tried) <= 4
