from __future__ import annotations

import base64
import ipaddress
from typing import Mapping, Sequence

import pytest
from flask import Request
from werkzeug.test import EnvironBuilder

from backend.errors import (
    CnameInTheWay,
    DyndnsError,
    MissingCredentials,
    OperatorError,
    TooManyFailures,
    Unauthorized,
)
from backend.model import Credentials, Network
from backend.web.caller import base_url, client_address
from backend.web.request import CHALLENGE, UNREADABLE, answer_for, header_logins

PROXIES = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "127.0.0.0/8", "::1/128", "fc00::/7")))
CALLER = "198.51.100.7"


def request(peer: str | None = None, **headers: str) -> Request:
    builder = EnvironBuilder(
        headers={name.replace("_", "-"): text for name, text in headers.items()}
    )
    environ = builder.get_environ()
    builder.close()
    environ.pop("REMOTE_ADDR", None)
    if peer is not None:
        environ["REMOTE_ADDR"] = peer
    return Request(environ)


def seen(peer: str | None, trusted: Sequence[Network] = PROXIES, **headers: str) -> str:
    return client_address(request(peer, **headers).environ, trusted)


def basic(login: bytes) -> str:
    return "Basic " + base64.b64encode(login).decode()


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        (CALLER, CALLER),
        ("2001:db8::7", "2001:db8::7"),
        ("2001:0DB8::0007", "2001:db8::7"),
        (f"::ffff:{CALLER}", CALLER),
        ("fe80::1%eth0", "fe80::1"),
        (None, ""),
        ("", ""),
        ("unix:", ""),
    ],
)
def test_without_a_proxy_the_peer_is_the_client(peer: str | None, address: str) -> None:
    assert seen(peer) == address


@pytest.mark.parametrize("peer", [CALLER, "2001:db8::7", "", None, "11.0.0.1"])
def test_only_trusted_proxies_set_the_address(peer: str | None) -> None:
    headers = {"X_Real_Ip": "203.0.113.1", "X_Forwarded_For": "203.0.113.2"}
    assert seen(peer, **headers) == (peer or "")


def test_without_trusted_proxies_headers_are_ignored() -> None:
    assert seen("127.0.0.1", (), X_Real_Ip=CALLER) == "127.0.0.1"


@pytest.mark.parametrize("peer", ["10.1.2.3", "127.0.0.1", "::1", "fd00::1", "::ffff:10.1.2.3"])
@pytest.mark.parametrize("header", ["X_Real_Ip", "X_Forwarded_For"])
def test_a_trusted_proxy_sets_the_address(peer: str, header: str) -> None:
    assert seen(peer, **{header: CALLER}) == CALLER


def test_x_real_ip_wins_over_x_forwarded_for() -> None:
    assert seen("10.0.0.1", X_Real_Ip=CALLER, X_Forwarded_For="203.0.113.2") == CALLER


@pytest.mark.parametrize("garbage", ["", "unknown", "198.51.100", "a, b", f"{CALLER}, 10.0.0.2"])
def test_an_invalid_x_real_ip_is_ignored(garbage: str) -> None:
    assert seen("10.0.0.1", X_Real_Ip=garbage, X_Forwarded_For=CALLER) == CALLER
    assert seen("10.0.0.1", X_Real_Ip=garbage) == "10.0.0.1"


@pytest.mark.parametrize(
    ("chain", "address"),
    [
        (CALLER, CALLER),
        (f"203.0.113.66, {CALLER}", CALLER),  # the left one is invented
        (f"203.0.113.66, {CALLER}, 10.0.0.9", CALLER),
        (f"{CALLER}, 10.0.0.9, fd00::9, 127.0.0.1", CALLER),
        (f" {CALLER} ,10.0.0.9 ", CALLER),
        (f"{CALLER}:51234", CALLER),
        (f"::ffff:{CALLER}", CALLER),
        ("[2001:db8::7]:51234", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("2001:db8::7", "2001:db8::7"),
        ("10.0.0.7, 10.0.0.8", "10.0.0.7"),  # a client in the same network
        (f"{CALLER}, unknown", "10.0.0.1"),  # the proxy hides the client
        (f"{CALLER}, unknown, 10.0.0.9", "10.0.0.9"),
        ("", "10.0.0.1"),
        (",", "10.0.0.1"),
        ("unknown", "10.0.0.1"),
    ],
)
def test_the_rightmost_untrusted_hop_is_the_client(chain: str, address: str) -> None:
    assert seen("10.0.0.1", X_Forwarded_For=chain) == address


@pytest.mark.parametrize(
    ("real", "chain", "address"),
    [
        ("10.0.0.6", CALLER, CALLER),
        ("10.0.0.6", f"203.0.113.66, {CALLER}, 10.0.0.9", CALLER),
        ("10.0.0.6", "", "10.0.0.6"),
        ("10.0.0.6", "unknown", "10.0.0.6"),
        ("10.0.0.6", f"{CALLER}, unknown", "10.0.0.6"),
        ("10.0.0.6", "10.0.0.9", "10.0.0.9"),
        ("::ffff:10.0.0.6", CALLER, CALLER),
    ],
)
def test_an_x_real_ip_of_a_trusted_proxy_is_one_more_hop(
    real: str, chain: str, address: str
) -> None:
    assert seen("10.0.0.1", X_Real_Ip=real, X_Forwarded_For=chain) == address


@pytest.mark.parametrize(
    ("peer", "url"),
    [("10.0.0.1", "https://dyndns.example.com"), (CALLER, "http://localhost")],
)
def test_only_trusted_proxies_report_the_url_of_the_service(peer: str, url: str) -> None:
    forwarded = {"X_Forwarded_Proto": "https, http", "X_Forwarded_Host": "dyndns.example.com, x"}
    assert base_url(request(peer, **forwarded), PROXIES) == url


def test_a_key_header_has_no_user() -> None:
    assert header_logins(request(X_Pre_Shared_Key=" the-key ")) == [Credentials(None, "the-key")]


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_key_header_may_have_any_encoding(encoding: str) -> None:
    # WSGI decodes headers as Latin-1: https://peps.python.org/pep-3333/#unicode-issues
    header = "schlüssel".encode(encoding).decode("latin-1")
    sent = header_logins(request(X_Pre_Shared_Key=header))
    assert sent == [Credentials(None, "schlüssel")]


def test_a_key_beyond_latin_1_is_not_decoded() -> None:
    assert header_logins(request(X_Pre_Shared_Key="ключ")) == [Credentials(None, "ключ")]


def test_a_key_and_a_login_are_both_read() -> None:
    sent = request(X_Pre_Shared_Key="the-key", Authorization=basic(b"nas:other"))
    assert header_logins(sent) == [Credentials(None, "the-key"), Credentials("nas", "other")]


@pytest.mark.parametrize(
    ("header", "user", "secret"),
    [
        (basic(b"nas:the-key"), "nas", "the-key"),
        (basic(b"nas:the-key").replace("Basic", "bAsIc"), "nas", "the-key"),
        (basic(b"nas:the-key").replace(" ", "   "), "nas", "the-key"),
        (basic(b"nas:a:b:c"), "nas", "a:b:c"),
        (basic(b"nas:the-key").rstrip("="), "nas", "the-key"),
        (basic(b"nas:key1").rstrip("="), "nas", "key1"),
        (basic(b"nas:the-key\r\n"), "nas", "the-key"),
        (basic(b" nas : the-key "), "nas", "the-key"),
        (basic(b"nas:"), "nas", ""),
        (basic(b":the-key"), None, "the-key"),
        (basic("bücher:schlüssel".encode()), "bücher", "schlüssel"),
        (basic("bücher:schlüssel".encode("latin-1")), "bücher", "schlüssel"),
    ],
)
def test_a_login_is_read(header: str, user: str | None, secret: str) -> None:
    assert header_logins(request(Authorization=header)) == [Credentials(user, secret)]


@pytest.mark.parametrize(
    "header",
    [
        "Basic",
        "Basic !!!",
        "Basic bmFz=OnRoZS1rZXk",
        "Basic bmFzO",
        basic(b"no colon"),
        "the-key",
        "Basic n\u00e4s",
        "Digest username=nas",
    ],
)
def test_an_unreadable_login_counts_as_wrong(header: str) -> None:
    assert header_logins(request(Authorization=header)) == [UNREADABLE]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": " "},
        {"Authorization": basic(b":")},
        {"X_Pre_Shared_Key": ""},
        {"X_Pre_Shared_Key": " "},
    ],
)
def test_empty_headers_are_no_login(headers: Mapping[str, str]) -> None:
    assert header_logins(request(**headers)) == []


def test_a_bearer_token_is_a_key() -> None:
    assert header_logins(request(Authorization="bearer the-key ")) == [Credentials(None, "the-key")]


def test_a_table_falls_back_to_the_nearest_parent() -> None:
    table: dict[type[DyndnsError], tuple[int, str]]
    table = {DyndnsError: (500, "root"), OperatorError: (502, "operator")}
    assert answer_for(table, CnameInTheWay("x")) == (502, "operator", {})
    own = answer_for({**table, CnameInTheWay: (400, "itself")}, CnameInTheWay("x"))
    assert own == (400, "itself", {})
    assert answer_for(table, TooManyFailures("x", 1)) == (500, "root", {"Retry-After": "1"})


def test_only_an_answer_of_401_asks_for_a_login() -> None:
    table: dict[type[DyndnsError], tuple[int, str]]
    table = {DyndnsError: (500, "root"), Unauthorized: (401, "login")}
    assert answer_for(table, MissingCredentials("x"))[2] == {"WWW-Authenticate": CHALLENGE}


def test_only_a_limited_number_of_hops_is_read() -> None:
    chain = ", ".join([CALLER] + ["10.0.0.2"] * 50_000)
    assert seen("10.0.0.1", X_Forwarded_For=chain) == "10.0.0.2"
    assert seen("10.0.0.1", X_Forwarded_For=f"{CALLER}, {', '.join(['10.0.0.2'] * 19)}") == CALLER


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "1"), (0.2, "1"), (1, "1"), (1.01, "2"), (59.5, "60"), (900.0, "900")]
)
def test_a_pause_is_rounded_up_to_whole_seconds(seconds: float, text: str) -> None:
    _, _, headers = answer_for({DyndnsError: (503, "later")}, TooManyFailures("x", seconds))
    assert headers["Retry-After"] == text
