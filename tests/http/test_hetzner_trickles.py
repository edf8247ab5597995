"""An endless, slow answer for one host doesn't occupy a slot or lock forever."""

from __future__ import annotations

import socket
from typing import Iterator
from urllib.parse import urlsplit

import pytest

from sandbox import Sandbox
from tests.hostile import ENDLESS, Hostile, Servers, trickled
from tests.http.conftest import Serve
from tests.http.service import HOME, NAS, record, refused, told
from tests.http.waiting import until


class Line:
    """The line to Hetzner: while `trickles` is set, a call for HOME gets an answer without end."""

    def __init__(self, sandbox: Sandbox, endless: Hostile) -> None:
        self._sandbox = urlsplit(sandbox.http_url)
        self._endless = endless
        self.trickles = True
        self.trickling = 0

    def answer(self, request: bytes) -> Iterator[bytes]:
        if self.trickles and b"home" in request.split(b"\r\n", 1)[0]:
            self.trickling += 1
            yield from self._endless.pieces()
        with socket.create_connection((self._sandbox.hostname, self._sandbox.port)) as far:
            far.sendall(request.replace(b"Connection: keep-alive", b"Connection: close"))
            # This end closes as well, and a caller must know before it sends its next request.
            yield far.recv(65536).replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
            yield from iter(lambda: far.recv(65536), b"")


@pytest.mark.parametrize(("name", "start", "forever"), [ENDLESS[0], ENDLESS[1], ENDLESS[6]])
def test_a_trickling_answer_frees_slot_and_lock(  # noqa: PLR0913, PLR0917
    serve: Serve,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    start: bytes,
    forever: bytes,
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr("backend.web.json_api.ANSWER_SECONDS", 4.0)
    line = Line(sandbox, trickled(name, start, forever))
    with Servers() as servers:
        port = servers.start(line.answer)
        service = serve(HETZNER_API_URL=f"http://127.0.0.1:{port}/v1", THREADS="1")
        assert refused(service.host(HOME).updates("198.51.100.1")) == (503, "unavailable")
        assert line.trickling
        line.trickles = False
        until(lambda: service.rows("leases") == [], "the host lock to become free")
        until(
            lambda: service.host(NAS).updates("198.51.100.2").status_code == 200,
            "the slot to become free",
        )
        assert told(service.host(HOME).updates("198.51.100.3")) == (
            200,
            record("created", "198.51.100.3"),
        )
