from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Iterator

import pytest

from backend import cli


class Health(BaseHTTPRequestHandler):
    status = 200
    asked: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(b"as it is\n")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def port() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Health)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield str(server.server_port)
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("address", ["", "127.0.0.1", "0.0.0.0"])  # noqa: S104
def test_a_service_that_is_well_is_healthy(port: str, address: str) -> None:
    Health.status = 200
    environ = {"LISTEN_PORT": port, "LISTEN_ADDRESS": address}
    assert cli.run(["healthcheck"], environ) == 0
    assert Health.asked[-1] == "/healthz"


def test_an_unhealthy_service_reports_the_reason(
    port: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Health.status = 503
    assert cli.run(["healthcheck"], {"LISTEN_PORT": port}) == 1
    assert capsys.readouterr().out == "as it is\n"


def test_a_service_that_is_not_there_is_unhealthy(
    free_port: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["healthcheck"], {"LISTEN_PORT": free_port}) == 1
    assert "no answer from 127.0.0.1" in capsys.readouterr().out


@pytest.fixture
def free_port() -> str:
    server = HTTPServer(("127.0.0.1", 0), Health)
    server.server_close()
    return str(server.server_port)
