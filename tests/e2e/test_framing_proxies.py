"""Callers of a proxy get their own answers, whatever bytes another caller sends."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Iterator

import pytest

from tests.e2e import proxies
from tests.e2e.framings import KINDS
from tests.e2e.neighbours import Neighbourhood, forged_writes
from tests.e2e.processes import HOSTS, Backend, Hetzner

PROXIES: dict[str, Callable[[Path, str], proxies.Proxy]] = {
    "nginx": lambda folder, backend: proxies.lax_nginx(folder, backend, buffering=True),
    "nginx, unbuffered": lambda folder, backend: proxies.lax_nginx(
        folder, backend, buffering=False
    ),
    "caddy": proxies.caddy,
    "haproxy": proxies.haproxy,
}


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.real(name.split(",")[0])) for name in PROXIES],
)
def proxy(
    request: pytest.FixtureRequest, backend: Backend, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[proxies.Proxy]:
    folder = tmp_path_factory.mktemp("proxy")
    with PROXIES[request.param](folder, f"127.0.0.1:{backend.port}") as proxy:
        yield proxy


@pytest.fixture(scope="module")
def neighbourhood(
    proxy: proxies.Proxy, backend: Backend, hetzner: Hetzner
) -> Iterator[Neighbourhood]:
    hosts = (HOSTS[0], HOSTS[1])
    neighbourhood = Neighbourhood(backend, hetzner, proxy.port, hosts, 10)
    assert neighbourhood.problems() == []
    yield neighbourhood
    neighbourhood.close()
    assert forged_writes(hetzner) == []


def test_the_proxy_keeps_its_connections_to_the_backend(
    neighbourhood: Neighbourhood, backend: Backend
) -> None:
    before = proxies.connections_to(backend.port)
    assert [neighbourhood.problems() for _ in range(5)] == [[]] * 5
    assert before & proxies.connections_to(backend.port)


@pytest.mark.parametrize("kind", KINDS)
def test_each_neighbour_of_a_hostile_caller_gets_its_own_answer(
    neighbourhood: Neighbourhood, kind: str
) -> None:
    problems = neighbourhood.attack(KINDS[kind])
    assert not problems, "\n".join(problems)
