"""Whose address is it: what a request without an address publishes, by which way it came."""

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
        (forwarded("192.168.1.5", "10.0.0.7"), "192.168.1.5"),
        (forwarded("nonsense"), PROXY),
        (forwarded(ROUTER, "nonsense"), PROXY),
    ],
    ids=["no header", "X-Real-Ip", "X-Forwarded-For", "garbage", "garbage on the right"],
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


def test_a_given_address_wins_over_the_callers(router: Router) -> None:
    headers = {**router.headers, "X-Real-Ip": ROUTER}
    query = {"hostname": HOME, "myip": "198.51.100.1"}
    answer = router.asks("GET", query, peer=PROXY, headers=headers)
    assert said(answer) == (200, b"good 198.51.100.1\n")


def test_without_a_peer_there_is_no_address_to_see(router: Router) -> None:
    assert said(router.asks("GET", {"hostname": HOME}, peer="")) == (400, b"dnserr\n")
