"""A backend that sends scripted answers and records the requests."""

from __future__ import annotations

import json
import socket
import socketserver
import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler


@dataclass
class Request:
    """A received request."""

    path: str
    body: dict[str, str]
    key: str | None
    headers: dict[str, str]
    peer: str


@dataclass
class Reply:
    """An answer: a dict is sent as JSON, a string as HTML."""

    status: int = 200
    body: dict[str, object] | str = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    def text(self) -> bytes:
        page = self.body if isinstance(self.body, str) else json.dumps(self.body)
        return page.encode()


def good(ip: str, status: str = "unchanged") -> Reply:
    return Reply(200, {"status": status, "fqdn": "host.example.com", "type": "A", "ip": ip})


def bad(status: int, code: str, error: str = "This is why.", **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, {"error": error, "code": code}, named)


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, FakeBackend)
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length))
        peer = self.client_address[0].replace("::ffff:", "")
        key = self.headers.get("X-Pre-Shared-Key")
        server.requests.append(Request(self.path, body, key, dict(self.headers), peer))
        server.was_asked.set()
        reply = server.next_reply(peer)
        if reply is None:
            server.gate.wait()
            return
        self.send_response(reply.status)
        fixed = {"Content-Type": "text/html" if isinstance(reply.body, str) else "application/json"}
        for name, value in {**fixed, **reply.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.text())))
        self.end_headers()
        self.wfile.write(reply.text())

    do_GET = do_POST  # noqa: N815 - a followed redirect would come as one

    def log_message(self, *_: object) -> None:
        pass


class FakeBackend(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """A backend on one loopback address, or on both with the same port."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.requests: list[Request] = []
        self.replies: list[Reply | None] = []
        self.by_peer: dict[str, Reply] = {}
        self.was_asked = threading.Event()
        self.gate = threading.Event()
        super().__init__((host, 0), _Handler)
        self.port: int = self.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def use_tls(self, certificate: str, key: str) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        # The handshake takes place in the connection's own thread.
        self.socket = context.wrap_socket(
            self.socket, server_side=True, do_handshake_on_connect=False
        )

    def handle_error(self, *_: object) -> None:
        pass  # some tests close the connection early

    def set_answers(self, *replies: Reply | None) -> None:
        """Set the next answers; the last one is repeated. None blocks the caller."""
        self.replies = list(replies)

    def next_reply(self, peer: str) -> Reply | None:
        if peer in self.by_peer:
            return self.by_peer[peer]
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    def close(self) -> None:
        self.gate.set()
        self.shutdown()
        self.server_close()
