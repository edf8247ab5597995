"""/ip and /healthz."""

from __future__ import annotations

import pytest

from tests.http.conftest import Serve
from tests.http.service import Service


@pytest.mark.parametrize(
    ("peer", "seen"),
    [
        ("203.0.113.50", "203.0.113.50"),
        ("::ffff:203.0.113.50", "203.0.113.50"),
        ("2001:db8::50", "2001:db8::50"),
        ("127.0.0.1", "127.0.0.1"),
    ],
)
def test_ip_returns_the_callers_address(service: Service, peer: str, seen: str) -> None:
    answer = service.asks("GET", "/ip", peer)
    assert (answer.status_code, answer.data) == (200, f"{seen}\n".encode())
    assert service.calls() == []


def test_healthz_is_ok_while_the_store_answers(service: Service) -> None:
    answer = service.asks("GET", "/healthz")
    assert (answer.status_code, answer.data) == (200, b"ok\n")


def test_hetzner_being_away_is_not_ill_health(service: Service) -> None:
    service.sandbox.fail(503, count=None)
    service.host().updates("198.51.100.1")
    service.calls()
    assert service.asks("GET", "/healthz").status_code == 200
    assert service.calls() == []


def test_healthz_is_not_ok_without_a_store(serve: Serve) -> None:
    service = serve()
    service.database.unlink()
    service.database.mkdir()
    answer = service.app.test_client().get("/healthz")
    assert answer.status_code == 503
    assert answer.mimetype == "text/plain"


def test_the_openapi_document_is_public(service: Service) -> None:
    answer = service.asks("GET", "/openapi.json")
    assert answer.status_code == 200
    assert answer.get_json()["openapi"] == "3.1.0"
    certificates = ["/acme/present", "/acme/cleanup", "/acme-dns/update"]
    assert list(answer.get_json()["paths"]) == ["/update", *certificates, "/hosts.json"]
