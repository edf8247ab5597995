"""The example with Caddy passes on the real address of callers, not addresses they claim."""

from __future__ import annotations

from typing import Iterator

import pytest

from tests.e2e import proxies
from tests.e2e.processes import Backend
from tests.ports import free_port

pytestmark = pytest.mark.real("caddy")


@pytest.fixture
def caddy(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[proxies.Proxy]:
    with proxies.caddy(tmp_path_factory.mktemp("caddy"), f"127.0.0.1:{backend.port}") as caddy:
        yield caddy


@pytest.mark.parametrize("header", ["X-Real-Ip", "X-Forwarded-For", "Forwarded"])
def test_the_backend_gets_the_address_of_the_caller(
    backend: Backend, caddy: proxies.Proxy, header: str
) -> None:
    forged = {header: "203.0.113.9"}
    assert backend.session.get(f"{caddy.url}/ip", headers=forged, timeout=20).text == "127.0.0.1\n"


@pytest.mark.parametrize("size", [16385, 100_000])
def test_a_body_that_is_too_large_is_refused(
    backend: Backend, caddy: proxies.Proxy, size: int
) -> None:
    answer = backend.session.post(f"{caddy.url}/update", data=b"p" * size, timeout=20)
    assert answer.status_code in (413, 502)  # Caddy of Debian 12 answers 502


def test_caddy_logs_no_key_without_a_backend(
    backend: Backend, tmp_path_factory: pytest.TempPathFactory
) -> None:
    caddy = proxies.caddy(tmp_path_factory.mktemp("caddy"), f"127.0.0.1:{free_port()}")
    caddy.start()
    try:
        for header in ("X-Pre-Shared-Key", "Authorization", "X-Api-Key"):
            query = "hostname=x&user=x&pass=my-canary"
            answer = backend.session.get(
                f"{caddy.url}/nic/update?{query}", headers={header: "my-canary"}, timeout=20
            )
            assert answer.status_code == 502
        caddy.wait_until(lambda: caddy.output.count("http.log.error") == 3, "to log the failures")
        assert "my-canary" not in caddy.output
    finally:
        caddy.stop()
