from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from typing import Any, Callable, Iterator, List

import pytest

from client import update_dns
from tests.client.fake_backend import FakeBackend

KEY = "a-key-that-must-stay-secret-9KxQ"


ClientFor = Callable[..., update_dns.Client]
Lines = Callable[[], List[str]]


class Clock:
    """A clock that advances only during sleeps; after `naps` of them the loop ends."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self.naps = 1

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        if len(self.slept) >= self.naps:
            raise LoopEnded


class LoopEnded(Exception):
    """Ends the loop after the given number of sleeps."""


@pytest.fixture(autouse=True)
def _own_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            monkeypatch.delenv(name)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    """Return the lines logged since the last call."""
    caplog.set_level(logging.INFO, logger="update_dns")

    def take() -> list[str]:
        logged = [f"{record.levelname} {record.getMessage()}" for record in caplog.records]
        caplog.clear()
        assert KEY not in "\n".join(logged)
        return logged

    return take


@pytest.fixture
def backend() -> Iterator[FakeBackend]:
    yield from _serve("127.0.0.1")


@pytest.fixture
def dual(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBackend]:
    """Return a backend on IPv4 and IPv6, with a name that has both addresses."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    for served in _serve("::"):
        served.url = f"http://backend.test:{served.port}"
        resolve(monkeypatch, "::1", "127.0.0.1")
        yield served


@pytest.fixture
def trickle() -> Iterator[str]:
    """Return the URL of a backend whose answer arrives byte by byte without an end."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def answer() -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
            while not over.wait(0.05):
                connection.sendall(b" ")

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    over.set()
    thread.join(30)
    listener.close()


def _serve(host: str) -> Iterator[FakeBackend]:
    backend = FakeBackend(host)
    threading.Thread(target=backend.serve_forever, args=(0.01,), daemon=True).start()
    yield backend
    backend.close()


def resolve(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Resolve backend.test to these addresses, in this order."""
    real = socket.getaddrinfo

    def look_up(host: str, port: Any, family: int = 0, *rest: Any, **options: Any) -> list[Any]:  # noqa: ANN401
        if host != "backend.test":
            return real(host, port, family, *rest, **options)
        found: list[Any] = [real(name, port, 0, socket.SOCK_STREAM)[0] for name in addresses]
        found = [entry for entry in found if family in (0, entry[0])]
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return found

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.fixture
def client_for(clock: Clock) -> ClientFor:
    """Return a client with a fake clock and the longest jitter."""

    def build(url: str, **variables: str) -> update_dns.Client:
        given = {"FQDN": "host.example.com", "PRE_SHARED_KEY": KEY, **variables}
        settings, _ = update_dns.read(given, [url])
        return update_dns.Client(settings, clock, lambda _, longest: longest)

    return build
