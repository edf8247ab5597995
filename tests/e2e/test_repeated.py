"""A request that is recognised by its bytes gets the same answer as at first."""

from __future__ import annotations

import contextlib
import re
import socket
from base64 import b64encode
from pathlib import Path
from typing import Iterator

import pytest

from tests.e2e.framings import head
from tests.e2e.processes import Backend, Hetzner
from tests.e2e.slow_callers import HALF_OPEN, SlowCallers

ADDRESS = "198.51.100.1"


@pytest.fixture(scope="module")
def backend(hetzner: Hetzner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """One worker, which gets all requests."""
    folder = tmp_path_factory.mktemp("backend")
    with Backend(folder, hetzner, WEB_CONCURRENCY="1") as backend:
        yield backend


def connect(backend: Backend) -> socket.socket:
    return socket.create_connection(("127.0.0.1", backend.port), timeout=20)


def nic_update(backend: Backend, host: str, *lines: bytes, version: bytes = b"HTTP/1.1") -> bytes:
    login = b64encode(f"{host}:{backend.key_of(host)}".encode())
    target = f"GET /nic/update?hostname={host}&myip={ADDRESS}".encode()
    return head(target, b"Authorization: Basic " + login, *lines, version=version)


def update(backend: Backend, host: str, *lines: bytes, version: bytes = b"HTTP/1.1") -> bytes:
    body = f'{{"fqdn": "{host}", "ip": "{ADDRESS}"}}'.encode()
    key = f"X-Pre-Shared-Key: {backend.key_of(host)}".encode()
    length = b"Content-Length: %d" % len(body)
    return head(b"POST /update", key, length, *lines, version=version) + body


def receive(connection: socket.socket) -> bytes:
    """Return one answer, without its date."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(1) or pytest.fail(f"the answer is incomplete: {received!r}")
    length = int(re.findall(rb"Content-Length: (\d+)", received)[0])
    while length:
        part = connection.recv(length) or pytest.fail("the body is incomplete")
        received, length = received + part, length - len(part)
    return re.sub(rb"Date: [^\r]*", b"", received)


def is_closed(connection: socket.socket) -> bool:
    connection.settimeout(0.2)
    try:
        return connection.recv(1) == b""
    except socket.timeout:
        return False


def ask(backend: Backend, request: bytes) -> bytes:
    with connect(backend) as connection:
        connection.sendall(request)
        return receive(connection)


@pytest.mark.parametrize("make", [nic_update, update])
@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
@pytest.mark.parametrize("sent", [b"close", b"Close", b"keep-alive", None])
def test_every_repeat_is_answered_like_the_first_unchanged_update(
    backend: Backend, host: str, make: type[nic_update], version: bytes, sent: bytes | None
) -> None:
    lines = [] if sent is None else [b"Connection: " + sent]
    request = make(backend, host, *lines, version=version)
    answers = []
    for _ in range(5):
        with connect(backend) as connection:
            connection.sendall(request)
            answer = receive(connection)
            answers.append((answer, is_closed(connection)))
    assert len(set(answers[1:])) == 1
    closes = sent in (b"close", b"Close") or (version == b"HTTP/1.0" and sent is None)
    assert answers[1][1] is closes


@pytest.mark.parametrize("make", [nic_update, update])
def test_repeats_are_answered_while_slow_callers_have_all_threads(
    backend: Backend, host: str, make: type[nic_update]
) -> None:
    request = make(backend, host)
    answers = [ask(backend, request) for _ in range(3)]
    callers = SlowCallers(backend.port, 200, [HALF_OPEN])
    callers.start()
    try:
        with connect(backend) as kept, connect(backend) as other:
            other.sendall(head(b"GET /ip"))  # needs a thread
            for _ in range(3):
                kept.sendall(request)
                assert receive(kept) == ask(backend, request) == answers[-1]
            assert not is_closed(other)
    finally:
        callers.stop()


@pytest.mark.parametrize("make", [nic_update, update])
def test_a_repeat_in_pieces_gets_one_answer(
    backend: Backend, host: str, make: type[nic_update]
) -> None:
    request = make(backend, host)
    whole = [ask(backend, request) for _ in range(3)][-1]
    end = request.index(b"\r\n\r\n")
    with connect(backend) as connection:
        for place in (1, end, end + 2, end + 3, len(request) - 1) * 2:
            connection.sendall(request[:place])
            assert not is_closed(connection)
            connection.settimeout(20)
            connection.sendall(request[place:])
            assert receive(connection) == whole


def test_a_repeat_is_not_answered_before_its_chunked_body(backend: Backend, host: str) -> None:
    request = nic_update(backend, host, b"Transfer-Encoding: chunked")
    whole = [ask(backend, request + b"0\r\n\r\n") for _ in range(3)][-1]
    for _ in range(4):
        with connect(backend) as connection:
            connection.sendall(request)
            connection.settimeout(0.2)
            with pytest.raises(socket.timeout):
                connection.recv(1)
            connection.settimeout(20)
            connection.sendall(b"0\r\n\r\n")
            assert receive(connection) == whole


@pytest.mark.parametrize("make", [nic_update, update])
def test_bytes_behind_a_repeat_are_another_request(
    backend: Backend, host: str, make: type[nic_update]
) -> None:
    request = make(backend, host)
    whole = [ask(backend, request) for _ in range(3)][-1]
    with connect(backend) as connection:
        connection.sendall(request + head(b"GET /ip", b"Connection: close"))
        assert receive(connection) == whole
        with contextlib.suppress(socket.timeout):  # gunicorn 23 answers no pipelined request
            connection.settimeout(2)
            assert receive(connection).endswith(b"\r\n\r\n127.0.0.1\n")


def test_a_repeat_inside_another_request_gets_no_answer_of_its_own(
    backend: Backend, host: str
) -> None:
    request = nic_update(backend, host)
    whole = [ask(backend, request) for _ in range(3)][-1]
    with connect(backend) as connection:
        connection.sendall(request + b"GET /ip HTTP/1.1\r\nConnection: close\r\nX-Pad: ")
        assert receive(connection) == whole
        connection.sendall(request)
        assert receive(connection).endswith(b"\r\n\r\n127.0.0.1\n")


def test_another_peer_is_not_answered_by_the_bytes(backend: Backend, host: str) -> None:
    request = nic_update(backend, host).replace(f"&myip={ADDRESS}".encode(), b"")
    for source in ("127.0.0.1", "127.0.0.2") * 3:
        with socket.create_connection(("127.0.0.1", backend.port), 20, (source, 0)) as connection:
            connection.sendall(request)
            assert receive(connection).endswith(f" {source}\n".encode())


def test_each_repeat_asks_the_store(backend: Backend, hetzner: Hetzner, host: str) -> None:
    request = nic_update(backend, host)
    words = [ask(backend, request).split()[-2] for _ in range(3)]
    backend.update(host, "198.51.100.2")
    words += [ask(backend, request).split()[-2] for _ in range(3)]
    assert words == [b"good", b"nochg", b"nochg"] * 2
    hetzner.expect(host, ADDRESS)


def test_a_replaced_key_ends_repeats(backend: Backend, host: str) -> None:
    request = nic_update(backend, host)
    assert [ask(backend, request).split()[-2] for _ in range(3)][-1] == b"nochg"
    keys = Path(backend.folder / "pre-shared-key")
    text = keys.read_text(encoding="utf-8")
    keys.write_text(text.replace(backend.key_of(host), "another-key-of-this-host"), "utf-8")
    backend.wait_until(lambda: b"badauth" in ask(backend, request), "to refuse the old key")
