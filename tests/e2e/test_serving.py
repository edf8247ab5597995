"""The exact bytes of answers, and two workers that agree."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from base64 import b64encode
from pathlib import Path
from typing import Iterator

import pytest

from tests.e2e.processes import Backend, Hetzner, until


def raw(port: int, request: bytes, address: str = "127.0.0.1") -> tuple[str, list[str], bytes]:
    """Send bytes; return the status line, the header lines and the body."""
    received = b""
    with socket.create_connection((address, port), timeout=20) as connection:
        # The server may reset the connection if it hasn't read the whole request.
        with contextlib.suppress(OSError):
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
        while True:
            part = connection.recv(65536)
            if not part:
                break
            received += part
    head, _, body = received.partition(b"\r\n\r\n")
    status, *headers = head.decode("latin-1").split("\r\n")
    return status, headers, body


def login(backend: Backend, host: str) -> str:
    return b64encode(f"{host}:{backend.key_of(host)}".encode()).decode()


def expect_one_line(answer: tuple[str, list[str], bytes], status: str, line: bytes) -> None:
    """Check the complete form of a dyndns2 answer."""
    status_line, headers, body = answer
    named = dict(header.split(": ", 1) for header in headers)
    assert (status_line.split(" ", 1)[1], body) == (status, line)
    assert named["Content-Type"] == "text/plain; charset=utf-8"
    assert named["Content-Length"] == str(len(line))
    assert named["Cache-Control"] == "no-store"
    assert "Transfer-Encoding" not in named


@pytest.mark.parametrize("path", ["/nic/update", "//nic/update", "/nic/update/", "/v3/update"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_router_gets_one_line_that_is_not_chunked(
    backend: Backend, hetzner: Hetzner, host: str, path: str, version: str
) -> None:
    request = (
        f"GET {path}?hostname={host}&myip=198.51.100.1 HTTP/{version}\r\n"
        f"Host: backend.example.com\r\nConnection: close\r\n"
        f"Authorization: Basic {login(backend, host)}\r\n\r\n"
    )
    answer = raw(backend.port, request.encode())
    expect_one_line(answer, "200 OK", b"good 198.51.100.1\n")
    hetzner.expect(host, "198.51.100.1")


def test_http_1_0_without_host_or_user_agent_is_served(
    backend: Backend, hetzner: Hetzner, host: str
) -> None:
    request = (
        f"GET /nic/update?hostname={host}&myip=198.51.100.2 HTTP/1.0\r\n"
        f"Authorization: Basic {login(backend, host)}\r\n\r\n"
    )
    answer = raw(backend.port, request.encode())
    expect_one_line(answer, "200 OK", b"good 198.51.100.2\n")
    hetzner.expect(host, "198.51.100.2")


@pytest.mark.parametrize(
    "query",
    ["hostname={host}&myip=<ipaddr>&myipv6=<ip6addr>", "hostname={host}&myip=%IP%", "{host}&"],
)
def test_a_request_line_with_raw_placeholders_is_served(
    backend: Backend, hetzner: Hetzner, host: str, query: str
) -> None:
    request = (
        f"GET /nic/update?{query.format(host=host)} HTTP/1.0\r\n"
        f"X-Real-Ip: 198.51.100.3\r\nAuthorization: Basic {login(backend, host)}\r\n\r\n"
    )
    expect_one_line(raw(backend.port, request.encode()), "200 OK", b"good 198.51.100.3\n")
    hetzner.expect(host, "198.51.100.3")


def test_head_is_answered_without_a_body_and_writes_nothing(
    backend: Backend, hetzner: Hetzner, host: str
) -> None:
    request = (
        f"HEAD /nic/update?hostname={host}&myip=198.51.100.4 HTTP/1.1\r\n"
        f"Host: backend\r\nConnection: close\r\nAuthorization: Basic {login(backend, host)}\r\n\r\n"
    )
    status, _, body = raw(backend.port, request.encode())
    assert (status.split(" ")[1], body) == ("405", b"")
    assert hetzner.calls_about(host) == []


def test_a_body_in_chunks_is_read(backend: Backend, hetzner: Hetzner, host: str) -> None:
    body = json.dumps({"fqdn": host, "ip": "198.51.100.5"}).encode()
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    assert b'"status": "created"' in raw(backend.port, chunked(backend, host, chunks))[2]
    hetzner.expect(host, "198.51.100.5")


def test_a_long_body_in_chunks_is_too_large(backend: Backend, host: str) -> None:
    body = json.dumps({"fqdn": host, "ip": "198.51.100.5"}).encode()
    # Short enough that the server doesn't close with much left to read: older versions of gunicorn
    # then break the connection before the answer is read.
    chunks = b"%x\r\n%s\r\n" % (len(body), body) + (b"1000\r\n" + b" " * 0x1000 + b"\r\n") * 4
    status, _, body = raw(backend.port, chunked(backend, host, chunks + b"0\r\n\r\n"))
    assert status.split(" ")[1] == "413"
    assert json.loads(body)["code"] == "too_large"


def chunked(backend: Backend, host: str, chunks: bytes) -> bytes:
    head = (
        "POST /update HTTP/1.1\r\nHost: backend\r\nConnection: close\r\n"
        f"X-Pre-Shared-Key: {backend.key_of(host)}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    return head.encode() + chunks


def test_two_updates_may_share_a_connection(backend: Backend, host: str) -> None:
    worker = Worker(backend)
    assert worker.update(host, "198.51.100.1") == "created"
    assert worker.update(host, "198.51.100.2") == "updated"
    worker.close()


class Worker:
    """A persistent connection, and so a single worker process."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._connection = http.client.HTTPConnection("127.0.0.1", backend.port, timeout=20)
        self.close = self._connection.close
        self._request("GET", "/ip", {}, b"")
        self.pid = self._owner(self._connection.sock.getsockname()[1])

    def update(self, host: str, ip: str) -> str:
        headers = {"X-Pre-Shared-Key": self._backend.key_of(host)}
        body = json.dumps({"fqdn": host, "ip": ip}).encode()
        status: str = json.loads(self._request("POST", "/update", headers, body))["status"]
        return status

    def _request(self, method: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        text = answer.read()
        assert answer.status == 200, text
        return text

    def _owner(self, port: int) -> int | None:
        """Return the worker that holds the other end of a connection from a local port."""
        inode = _inode_of(self._backend.port, port)
        for pid in self._backend.workers():
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    if str(descriptor.resolve()).endswith(f"socket:[{inode}]"):
                        return pid
        return None


def _inode_of(local: int, remote: int) -> str:
    """Return the socket of a connection (https://docs.kernel.org/networking/proc_net_tcp.html)."""
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        words = line.split()
        ends = [int(address.rpartition(":")[2], 16) for address in words[1:3]]
        if ends == [local, remote]:
            return words[9]
    return "none"


@pytest.fixture
def two_workers(backend: Backend) -> Iterator[list[Worker]]:
    """Return a connection to each of the two workers."""
    opened: list[Worker] = []

    def pids() -> set[int | None]:
        return {worker.pid for worker in opened}

    def have_met_both() -> bool:
        opened.append(Worker(backend))
        return len(pids()) == 2

    until(have_met_both, "connections to both workers")
    yield [next(worker for worker in opened if worker.pid == pid) for pid in pids()]
    for worker in opened:
        worker.close()


def test_two_workers_are_two_processes_that_both_answer(
    backend: Backend, two_workers: list[Worker]
) -> None:
    assert sorted(worker.pid or 0 for worker in two_workers) == backend.workers()


def test_a_change_and_its_reversal_reach_hetzner_from_two_workers(
    backend: Backend, hetzner: Hetzner, two_workers: list[Worker], host: str
) -> None:
    one, two = two_workers
    assert one.update(host, "198.51.100.1") == "created"
    for _ in range(25):
        assert two.update(host, "198.51.100.2") == "updated"
        assert two.update(host, "198.51.100.2") == "unchanged"
        assert one.update(host, "198.51.100.1") == "updated"
        assert one.update(host, "198.51.100.1") == "unchanged"
    hetzner.expect(host, "198.51.100.1")
    writes = [call for call in hetzner.calls_about(host) if call["method"] == "POST"]
    assert len(writes) == 51
    assert "Traceback" not in backend.output


def test_by_default_both_ip_versions_are_listened_on(
    hetzner: Hetzner, host: str, folder: Path
) -> None:
    backend = Backend(folder, hetzner, LISTEN_ADDRESS="", ALLOW_PRIVATE_ADDRESSES="")
    backend.start()
    try:
        request = b"GET /ip HTTP/1.0\r\n\r\n"
        assert raw(backend.port, request)[2] == b"127.0.0.1\n"
        if has_ipv6_loopback():
            assert raw(backend.port, request, "::1")[2] == b"::1\n"
        assert backend.update(host, "198.51.100.1")["status"] == "created"
    finally:
        backend.stop()


def has_ipv6_loopback() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True
