"""Oversized and unreadable requests are refused and not quoted."""

from __future__ import annotations

import contextlib
import http.client
import socket
from base64 import b64encode

import pytest

from tests.e2e.processes import Backend, Hetzner

HEAD = b"POST /update HTTP/1.1\r\nHost: backend\r\n"


def answer_to(backend: Backend, request: bytes) -> bytes:
    """Return all bytes of the answer."""
    received = b""
    with socket.create_connection(("127.0.0.1", backend.port), timeout=20) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(request)
        with contextlib.suppress(ConnectionResetError):
            while True:
                part = connection.recv(65536)
                if not part:
                    break
                received += part
    return received


GET = b"GET /ip HTTP/1.1\r\nHost: x\r\n"
TOO_MUCH = {
    "a request line": (b"GET /" + b"x" * 8200 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"414"),
    "a header": (GET + b"X: " + b"y" * 8200 + b"\r\n\r\n", b"431"),
    "too many headers": (GET + b"X: y\r\n" * 100 + b"\r\n", b"431"),
    "a head that has no end": (GET + b"X: y\r\n" * 90_000, b"431"),
}


@pytest.mark.parametrize("what", TOO_MUCH)
def test_more_than_any_honest_request_has_is_refused(backend: Backend, what: str) -> None:
    request, status = TOO_MUCH[what]
    head, _, body = answer_to(backend, request).partition(b"\r\n\r\n")
    assert head.split(b" ")[1] == status
    assert b"Connection: close" in head
    assert b"xxx" not in body
    assert b"yyy" not in body


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /nic/update?hostname=h.example.com&pass=my-canary HTP/1.1\r\n\r\n",
        GET + b"Authorization Basic my-canary\r\n\r\n",
        b"my-canary / HTTP/1.1 and more\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nmy-canary\r\n\r\n",
        HEAD + b"Content-Length: my-canary\r\n\r\n",
        HEAD + b"Transfer-Encoding: my-canary\r\n\r\n",
    ],
)
def test_a_request_that_cannot_be_read_is_not_quoted_anywhere(
    backend: Backend, request_: bytes
) -> None:
    answer = answer_to(backend, request_)
    assert answer.split(b" ")[1] in (b"400", b"501")
    assert b"my-canary" not in answer
    assert "my-canary" not in backend.output


def test_unreadable_requests_make_few_log_lines(backend: Backend) -> None:
    before = len(backend.output.splitlines())
    for _ in range(60):
        assert answer_to(backend, b"nonsense\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    lines = backend.output.splitlines()[before:]
    assert all(
        "A request from 127.0.0.1 can't be read (InvalidRequestLine)." in one for one in lines
    )
    assert len(lines) <= 10, "at most five at once for each of two workers"
    assert "can't be read (" in backend.output


# What a server must not accept: RFC 9112 §2.2, §3.2 and §5.2.
INVALID: dict[str, tuple[bytes, str]] = {
    "line feeds alone": (b"GET /ip HTTP/1.1\nHost: x\n\n", "127.0.0.1"),
    "headers that end with line feeds alone": (GET + b"X: y\nZ: z\n\n", "127.0.0.1"),
    "a folded header": (GET + b"X-Real-Ip: 198.51.100.7\r\nX: y\r\n z\r\n\r\n", "127.0.0.1"),
    "two Hosts": (GET + b"Host: y\r\n\r\n", "127.0.0.1"),
    "two lengths": (
        GET + b"X-Real-Ip: 198.51.100.7\r\n" + b"Content-Length: 0\r\n" * 2 + b"\r\n",
        "198.51.100.7",
    ),
}


def test_an_invalid_request_is_refused_with_a_warning(
    hetzner: Hetzner, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("invalid")
    with Backend(folder, hetzner, WEB_CONCURRENCY="1") as backend:
        for what, (request, source) in INVALID.items():
            before = len(backend.output)
            # The caller leaves its connection open, so the service must not wait for more.
            assert answer_to(backend, request).startswith(b"HTTP/1.1 400 "), what
            (line,) = backend.output[before:].splitlines()
            assert f" WARNING A request from {source} can't be read (" in line


def login(backend: Backend, host: str) -> bytes:
    return b64encode(f"{host}:{backend.key_of(host)}".encode())


@pytest.mark.parametrize(
    "path", [b"/healthz", b"/ip", b"/nowhere", b"/update", b"/nic/update", b"/openapi.json"]
)
@pytest.mark.parametrize(
    "body", [b"Content-Length: 16385\r\n\r\n", b"Content-Length: 00000000000000016385\r\n\r\n"]
)
def test_a_too_large_body_never_becomes_the_next_request(
    backend: Backend, path: bytes, body: bytes
) -> None:
    filler = b"GET /ip HTTP/1.1\r\nHost: x\r\n\r\n"
    request = b"POST %s HTTP/1.1\r\nHost: x\r\n%s" % (path, body)
    answer = answer_to(backend, request + filler * 3000)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"Connection: close" in answer


def test_a_small_unused_body_leaves_the_connection_usable(backend: Backend) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", backend.port, timeout=20)
    with contextlib.closing(connection):
        connection.connect()
        first = connection.sock
        for _ in range(2):
            connection.request("GET", "/ip", b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (200, b"127.0.0.1\n")
        assert connection.sock is first


def test_a_raw_byte_in_the_request_line_is_read(
    backend: Backend, hetzner: Hetzner, host: str
) -> None:
    for number, byte in enumerate(("ü".encode(), b"\xfc", b"\x80")):
        query = b"hostname=%s&myip=198.51.100.%d&x=%s" % (host.encode(), number + 1, byte)
        request = b"GET /nic/update?%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" % query
        answer = answer_to(
            backend, request + b"Authorization: Basic %s\r\n\r\n" % login(backend, host)
        )
        assert answer.endswith(b"good 198.51.100.%d\n" % (number + 1))
    hetzner.expect(host, "198.51.100.3")


@pytest.mark.parametrize("byte", [b"\x00", b"\x01", b"\x7f", b"\r", b"\n", b"\x0b"])
def test_a_control_character_in_the_request_line_is_refused(backend: Backend, byte: bytes) -> None:
    answer = answer_to(backend, b"GET /ip?x=%s1 HTTP/1.1\r\nHost: x\r\n\r\n" % byte)
    assert b" 400 " in answer.split(b"\r\n", 1)[0]


@pytest.mark.parametrize("header", [b"SCRIPT_NAME: /public", b"Script-Name: /public"])
def test_a_header_changes_no_path(backend: Backend, header: bytes) -> None:
    request = b"GET /public/ip HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s\r\n\r\n" % header
    assert answer_to(backend, request).startswith(b"HTTP/1.1 404 ")
    request = request.replace(b"/public/ip", b"/ip").replace(
        b"SCRIPT_NAME: /public", b"PATH_INFO: /x"
    )
    assert answer_to(backend, request).startswith(b"HTTP/1.1 200 ")
