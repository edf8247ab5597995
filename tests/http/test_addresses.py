"""The address that a request without an address publishes, directly and behind proxies."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http.conftest import Serve
from tests.http.service import HOME, Router, Service, refused, said

ROUTER = "203.0.113.50"
PROXY = "10.0.0.1"


def forwarded(*entries: str) -> dict[str, str]:
    return {"X-Forwarded-For": ", ".join(entries)}


WAYS: dict[str, Any] = {
    "directly": (ROUTER, {}, ROUTER),
    "directly over IPv6": ("2001:db8::50", {}, "2001:db8::50"),
    "directly, on a socket for both families": (f"::ffff:{ROUTER}", {}, ROUTER),
    "X-Real-Ip": (PROXY, {"X-Real-Ip": ROUTER}, ROUTER),
    "X-Real-Ip, IPv6": (PROXY, {"X-Real-Ip": "2001:DB8::50"}, "2001:db8::50"),
    "X-Real-Ip, IPv6 in brackets": (PROXY, {"X-Real-Ip": "[2001:db8::50]"}, "2001:db8::50"),
    "X-Real-Ip with a port": (PROXY, {"X-Real-Ip": f"{ROUTER}:4711"}, ROUTER),
    "X-Real-Ip, mapped": (PROXY, {"X-Real-Ip": f"::ffff:{ROUTER}"}, ROUTER),
    "X-Real-Ip wins": (PROXY, {"X-Real-Ip": ROUTER, **forwarded("198.51.100.9")}, ROUTER),
    "X-Real-Ip that is none": (PROXY, {"X-Real-Ip": "unknown", **forwarded(ROUTER)}, ROUTER),
    "X-Real-Ip that is empty": (PROXY, {"X-Real-Ip": "", **forwarded(ROUTER)}, ROUTER),
    "X-Real-Ip of a proxy": (PROXY, {"X-Real-Ip": "10.0.0.6", **forwarded(ROUTER)}, ROUTER),
    "X-Real-Ip of a proxy, several hops": (
        PROXY,
        {"X-Real-Ip": "10.0.0.6", **forwarded("198.51.100.9", ROUTER, "10.0.0.7")},
        ROUTER,
    ),
    "X-Real-Ip twice": (
        PROXY,
        {"X-Real-Ip": f"198.51.100.9,{ROUTER}", **forwarded(ROUTER)},
        ROUTER,
    ),
    "X-Forwarded-For": (PROXY, forwarded(ROUTER), ROUTER),
    "X-Forwarded-For, several trusted": (PROXY, forwarded(ROUTER, "10.0.0.7", "fd00::1"), ROUTER),
    "X-Forwarded-For, forged on the left": (PROXY, forwarded("198.51.100.9", ROUTER), ROUTER),
    "X-Forwarded-For, private on the left": (PROXY, forwarded("192.168.1.5", ROUTER), ROUTER),
    "X-Forwarded-For, garbage on the left": (PROXY, forwarded("unknown", ROUTER), ROUTER),
    "X-Forwarded-For with ports": (PROXY, forwarded(f"{ROUTER}:4711", "[fd00::1]:80"), ROUTER),
    "a proxy on this machine": ("127.0.0.1", {"X-Real-Ip": ROUTER}, ROUTER),
    "a proxy on this machine over IPv6": ("::1", {"X-Real-Ip": ROUTER}, ROUTER),
    "a proxy on this machine, mapped": ("::ffff:127.0.0.1", {"X-Real-Ip": ROUTER}, ROUTER),
    "a proxy with a ULA": ("fd00::1", forwarded(ROUTER), ROUTER),
    "a proxy with a link-local address": ("fe80::1", forwarded(ROUTER), ROUTER),
    "forged X-Real-Ip": (ROUTER, {"X-Real-Ip": "198.51.100.9"}, ROUTER),
    "forged X-Forwarded-For": (ROUTER, forwarded("198.51.100.9"), ROUTER),
    "forged both": (ROUTER, {"X-Real-Ip": "198.51.100.9", **forwarded("198.51.100.8")}, ROUTER),
    "Forwarded, which counts for nothing": (ROUTER, {"Forwarded": "for=198.51.100.9"}, ROUTER),
}


@pytest.mark.parametrize(("peer", "headers", "seen"), WAYS.values(), ids=WAYS.keys())
def test_only_trusted_proxies_may_name_the_caller(
    service: Service, router: Router, peer: str, headers: dict[str, str], seen: str
) -> None:
    headers = {**router.headers, **headers}
    answer = router.asks("GET", {"hostname": HOME}, peer=peer, headers=headers)
    assert said(answer) == (200, f"good {seen}\n".encode())
    assert service.asks("GET", "/ip", peer, headers=headers).data == f"{seen}\n".encode()


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({}, PROXY),
        ({"X-Real-Ip": "192.168.1.5"}, "192.168.1.5"),
        ({"X-Real-Ip": "192.168.1.5", **forwarded("unknown")}, "192.168.1.5"),
        ({"X-Real-Ip": "10.0.0.7", **forwarded("192.168.1.5")}, "192.168.1.5"),
        (forwarded("192.168.1.5", "10.0.0.7"), "192.168.1.5"),
        (forwarded("nonsense"), PROXY),
        (forwarded(ROUTER, "nonsense"), PROXY),
    ],
    ids=[
        "no header",
        "X-Real-Ip",
        "X-Real-Ip and garbage",
        "both",
        "X-Forwarded-For",
        "garbage",
        "garbage on the right",
    ],
)
def test_a_private_address_behind_a_proxy_is_refused_by_name(
    service: Service, headers: dict[str, str], named: str
) -> None:
    headers = {**service.host().headers, **headers}
    answer = service.asks("POST", "/update", PROXY, json={"fqdn": HOME}, headers=headers)
    assert refused(answer) == (400, "private_address")
    assert named in answer.get_json()["error"]
    assert service.states() == {}


@pytest.mark.parametrize(
    ("trusted", "peer", "seen"),
    [
        ("203.0.113.0/24", ROUTER, "198.51.100.9"),
        ("203.0.113.0/24", PROXY, None),
        (ROUTER, ROUTER, "198.51.100.9"),
        ("2001:db8::/32,::1", "2001:db8::1", "198.51.100.9"),
        ("2001:db8::/32,::1", ROUTER, ROUTER),
    ],
)
def test_the_operator_configures_the_trusted_proxies(
    serve: Serve, trusted: str, peer: str, seen: str | None
) -> None:
    router = serve(TRUSTED_PROXIES=trusted).router()
    headers = {**router.headers, "X-Real-Ip": "198.51.100.9"}
    answer = router.asks("GET", {"hostname": HOME}, peer=peer, headers=headers)
    expected = (400, b"dnserr\n") if seen is None else (200, f"good {seen}\n".encode())
    assert said(answer) == expected


EDGE = "172.68.1.1"  # of Cloudflare
CDN = {"TRUSTED_PROXIES": "127.0.0.0/8,172.64.0.0/13"}
BEHIND_A_CDN = {"X-Real-Ip": EDGE, "CF-Connecting-IP": ROUTER}


@pytest.mark.parametrize(
    "headers",
    [
        {**BEHIND_A_CDN, **forwarded(ROUTER)},
        {**BEHIND_A_CDN, **forwarded("198.51.100.9", ROUTER, EDGE)},
        forwarded("198.51.100.9", ROUTER, EDGE),
    ],
    ids=["X-Forwarded-For passed on", "X-Forwarded-For appended to", "no X-Real-Ip"],
)
def test_behind_a_trusted_cdn_its_client_counts(
    serve: Serve, caplog: pytest.LogCaptureFixture, headers: dict[str, str]
) -> None:
    router = serve(**CDN).router()
    headers = {**router.headers, **headers}
    answer = router.asks("GET", {"hostname": HOME}, peer="127.0.0.1", headers=headers)
    assert said(answer) == (200, f"good {ROUTER}\n".encode())
    assert warnings_of(caplog) == []


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the lines about headers that contradict the address of a caller."""
    return [line for line in caplog.messages if "TRUSTED_PROXIES" in line]


CONTRADICTIONS: dict[str, Any] = {
    "CF-Connecting-IP": ("127.0.0.1", BEHIND_A_CDN, EDGE, "CF-Connecting-IP"),
    "True-Client-IP": (
        "127.0.0.1",
        {"X-Real-Ip": EDGE, "True-Client-IP": "2001:db8::50"},
        EDGE,
        "True-Client-IP",
    ),
    "a proxy that X-Real-Ip passed through": (
        PROXY,
        {"X-Real-Ip": "198.51.100.9", **forwarded(ROUTER)},
        "198.51.100.9",
        "X-Forwarded-For",
    ),
    "a proxy that isn't trusted": (EDGE, {"X-Real-Ip": ROUTER}, EDGE, "X-Real-Ip"),
    "a CDN that isn't trusted": (EDGE, {"CF-Connecting-IP": ROUTER}, EDGE, "CF-Connecting-IP"),
}


@pytest.mark.parametrize(
    ("peer", "headers", "seen", "header"), CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys()
)
def test_a_header_that_contradicts_the_caller_is_one_warning(  # noqa: PLR0913, PLR0917
    router: Router,
    caplog: pytest.LogCaptureFixture,
    peer: str,
    headers: dict[str, str],
    seen: str,
    header: str,
) -> None:
    headers = {**router.headers, **headers}
    for word in ("good", "nochg", "nochg"):
        answer = router.asks("GET", {"hostname": HOME}, peer=peer, headers=headers)
        assert said(answer) == (200, f"{word} {seen}\n".encode())
    (line,) = warnings_of(caplog)
    assert f" from {seen}, but its header {header} names {headers[header]}." in line
    assert "docs/proxies.md" in line


@pytest.mark.parametrize(
    ("peer", "headers"),
    [
        ("127.0.0.1", {"X-Real-Ip": ROUTER, "CF-Connecting-IP": ROUTER}),
        ("127.0.0.1", {"X-Real-Ip": ROUTER, **forwarded("198.51.100.9", ROUTER)}),
        (ROUTER, forwarded("192.168.1.5")),
        (ROUTER, {"True-Client-IP": "unknown"}),
    ],
    ids=["the same", "forged on the left", "a private proxy of the caller", "garbage"],
)
def test_headers_that_contradict_nothing_are_no_warning(
    router: Router, caplog: pytest.LogCaptureFixture, peer: str, headers: dict[str, str]
) -> None:
    headers = {**router.headers, **headers}
    router.asks("GET", {"hostname": HOME}, peer=peer, headers=headers)
    assert warnings_of(caplog) == []


def test_strangers_cause_no_warning_about_proxies(
    untouched: Service, caplog: pytest.LogCaptureFixture
) -> None:
    for path in ("/nic/update", "/update", "/ip"):
        untouched.asks("GET", path, "127.0.0.1", headers=BEHIND_A_CDN)
    assert warnings_of(caplog) == []


def test_a_given_address_wins_over_the_callers(router: Router) -> None:
    headers = {**router.headers, "X-Real-Ip": ROUTER}
    query = {"hostname": HOME, "myip": "198.51.100.1"}
    answer = router.asks("GET", query, peer=PROXY, headers=headers)
    assert said(answer) == (200, b"good 198.51.100.1\n")


def test_without_a_peer_there_is_no_address_to_see(router: Router) -> None:
    assert said(router.asks("GET", {"hostname": HOME}, peer="")) == (400, b"dnserr\n")
