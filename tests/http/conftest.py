from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Iterator

import pytest
import requests

from sandbox import Sandbox
from tests.http.service import Host, Router, Service

FIRST, SECOND, READ_ONLY = (queued * 64 for queued in "abc")
Serve = Callable[..., Service]


class Console:
    """Hetzner's console: changes records without the service."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._session = requests.Session()
        self._session.trust_env = False
        self.close = self._session.close

    def changes(self, method: str, path: str, body: object = None, token: str = FIRST) -> None:
        """Change records; these calls are not counted."""
        headers = {"Authorization": f"Bearer {token}"}
        url = self._sandbox.http_url + path
        response = self._session.request(method, url, json=body, headers=headers, timeout=10)
        assert response.status_code in (200, 201), response.text
        self._sandbox.clear_calls()

    def shows(self, name: str, kind: str = "A") -> dict[str, Any]:
        """Return a record as the console shows it."""
        zone, owner = self._sandbox.zones.zone_of(name)
        rrset = zone.rrsets[owner, kind]
        values = {record.value: record.comment for record in rrset.records}
        return {"ttl": rrset.ttl, "records": values}


@pytest.fixture(scope="session")
def running_sandbox() -> Iterator[Sandbox]:
    zones = [
        f"example.com={FIRST}",
        f"lab.example.com={SECOND}",
        f"example.net={SECOND}",
        f"example.org={READ_ONLY}",
    ]
    with Sandbox(zones, [FIRST, SECOND], read_only_tokens=[READ_ONLY]) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running_sandbox: Sandbox) -> Sandbox:
    running_sandbox.reset()
    return running_sandbox


@pytest.fixture
def console(sandbox: Sandbox) -> Iterator[Console]:
    console = Console(sandbox)
    yield console
    console.close()


@pytest.fixture
def serve(sandbox: Sandbox, tmp_path: Path) -> Iterator[Serve]:
    """Start services; the services of one test share a folder and so their store."""
    services: list[Service] = []

    def start(**variables: str) -> Service:
        services.append(Service(sandbox, tmp_path, **variables))
        return services[-1]

    yield start
    for service in services:
        service.stop()


@pytest.fixture
def service(serve: Serve) -> Service:
    return serve()


@pytest.fixture
def host(service: Service) -> Host:
    return service.host()


@pytest.fixture
def router(service: Service) -> Router:
    return service.router()


@pytest.fixture(scope="module")
def quiet_service(
    running_sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """Return a service for all requests of a module that must have no effect."""
    running_sandbox.reset()
    service = Service(running_sandbox, tmp_path_factory.mktemp("quiet"))
    yield service
    service.stop()


@pytest.fixture
def untouched(quiet_service: Service) -> Iterator[Service]:
    """Fail if a request causes a call to Hetzner or changes the store.

    The history may say that the request was rejected.
    """
    quiet_service.sandbox.clear_calls()
    yield quiet_service
    assert quiet_service.calls() == []
    for table in ("records", "leases", "hosts"):
        assert quiet_service.rows(table) == []
    assert {row["event"] for row in quiet_service.rows("history")} <= {"rejected"}
