"""Forged headers through each documented proxy, and the address of a caller behind a CDN."""

from __future__ import annotations

import contextlib
import http.client
from pathlib import Path
from typing import Callable, Iterator, Mapping

import pytest

from tests.e2e import proxies
from tests.e2e.processes import Backend, Hetzner

# All proxies connect to the backend from 127.0.0.1.
NEIGHBOUR = "127.0.0.1"  # a caller whose own address is trusted, as in the network of the proxy
CALLER, CDN = "127.0.0.2", "127.0.0.3"
FORGED, BEHIND_THE_CDN = "203.0.113.9", "198.51.100.7"
Start = Callable[[Path, str], proxies.Proxy]

PROXIES: Mapping[str, Start] = {
    "nginx": proxies.documented_nginx,
    "nginx, load balancer": lambda folder, backend: proxies.documented_nginx(
        folder, backend, "docs/operations.md"
    ),
    "caddy": proxies.caddy,
    "haproxy": proxies.haproxy,
}
BEHIND_A_CDN: Mapping[str, Start] = {
    "nginx": lambda folder, backend: proxies.documented_nginx(folder, backend, cdn=CDN),
    "caddy": lambda folder, backend: proxies.caddy(folder, backend, cdn=CDN),
    "haproxy": lambda folder, backend: proxies.haproxy(
        folder, backend, options=proxies.behind_a_cdn("haproxy", CDN)
    ),
}
HEADERS: Mapping[str, Mapping[str, str]] = {
    "none": {},
    "X-Real-Ip": {"X-Real-Ip": FORGED},
    "X-Forwarded-For": {"X-Forwarded-For": FORGED},
    "a list": {"X-Forwarded-For": f"{FORGED}, {FORGED}"},
    "both": {"X-Real-Ip": FORGED, "X-Forwarded-For": FORGED},
    "a trusted address": {"X-Real-Ip": "10.0.0.6", "X-Forwarded-For": FORGED},
    "garbage": {"X-Real-Ip": "unknown", "X-Forwarded-For": FORGED},
    "underscores": {"X_Real_Ip": FORGED, "X_Forwarded_For": FORGED},
    "a CDN's": {"CF-Connecting-IP": FORGED, "True-Client-IP": FORGED},
    "Forwarded": {"Forwarded": f"for={FORGED}"},
}
each_header = pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS.keys())


@pytest.fixture(scope="module")
def backend(hetzner: Hetzner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    folder = tmp_path_factory.mktemp("backend")
    with Backend(folder, hetzner, TRUSTED_PROXIES="127.0.0.1") as backend:
        yield backend


def parameters(starts: Mapping[str, Start]) -> list[object]:
    return [
        pytest.param(start, id=name, marks=pytest.mark.real(name.split(",")[0]))
        for name, start in starts.items()
    ]


@pytest.fixture(scope="module", params=parameters(PROXIES))
def proxy(
    request: pytest.FixtureRequest, backend: Backend, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[proxies.Proxy]:
    with request.param(tmp_path_factory.mktemp("proxy"), _address_of(backend)) as proxy:
        yield proxy


@pytest.fixture(scope="module", params=parameters(BEHIND_A_CDN))
def proxy_of_a_cdn(
    request: pytest.FixtureRequest, backend: Backend, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[proxies.Proxy]:
    with request.param(tmp_path_factory.mktemp("proxy"), _address_of(backend)) as proxy:
        yield proxy


def _address_of(backend: Backend) -> str:
    return f"127.0.0.1:{backend.port}"


def seen(proxy: proxies.Proxy, caller: str, headers: Mapping[str, str]) -> str:
    """Return the address that the backend sees of a caller with this address."""
    connection = http.client.HTTPConnection(
        "127.0.0.1", proxy.port, timeout=20, source_address=(caller, 0)
    )
    with contextlib.closing(connection):
        connection.request("GET", "/ip", headers=headers)
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read().decode().strip()


@pytest.mark.parametrize("caller", [CALLER, NEIGHBOUR])
@each_header
def test_a_forged_header_names_no_other_caller(
    proxy: proxies.Proxy, caller: str, headers: Mapping[str, str]
) -> None:
    assert seen(proxy, caller, headers) == caller


@each_header
def test_behind_a_cdn_only_its_own_header_names_the_caller(
    proxy_of_a_cdn: proxies.Proxy, headers: Mapping[str, str]
) -> None:
    by_the_cdn = {**headers, "CF-Connecting-IP": BEHIND_THE_CDN}
    assert seen(proxy_of_a_cdn, CDN, by_the_cdn) == BEHIND_THE_CDN
    assert seen(proxy_of_a_cdn, CALLER, headers) == CALLER


@pytest.mark.real("haproxy")
def test_the_proxy_protocol_is_refused(backend: Backend, tmp_path: Path) -> None:
    with proxies.haproxy(tmp_path, f"{_address_of(backend)} send-proxy") as haproxy:
        answer = backend.session.get(f"{haproxy.url}/ip", timeout=20)
        assert answer.status_code == 400
    assert "A request from 127.0.0.1 can't be read (" in backend.output
