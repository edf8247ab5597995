"""A proxy that directs https://api.hetzner.cloud to the sandbox, for unmodified programs."""

from __future__ import annotations

import contextlib
import functools
import socket
import socketserver
import ssl
import threading
from pathlib import Path

import trustme

_HOST = "api.hetzner.cloud"


class Tunnel(socketserver.ThreadingTCPServer):
    """An HTTP proxy on the loopback interface that knows one host; it serves within `with`.

    `variables` are the environment variables by which programs find the proxy and trust its
    certificate.
    """

    daemon_threads = True

    def __init__(self, sandbox_port: int, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Tunnel)
        self.sandbox_port = sandbox_port
        authority, bundle = trustme.CA(), folder / "ca.pem"
        authority.cert_pem.write_to_path(str(bundle))
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(_HOST).configure_cert(self.context)
        self.variables = {
            "HTTPS_PROXY": f"http://127.0.0.1:{self.server_address[1]}",
            "REQUESTS_CA_BUNDLE": str(bundle),
        }

    def __enter__(self) -> Tunnel:  # noqa: PYI034  # Python 3.8 lacks Self
        threading.Thread(target=self.serve_forever, args=[0.02], daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Tunnel(socketserver.StreamRequestHandler):
    server: Tunnel

    def handle(self) -> None:
        target = self.rfile.readline().split(b" ")[1]
        while self.rfile.readline().strip():
            pass
        if target != f"{_HOST}:443".encode():
            self.wfile.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")
            return
        self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        secured = self.server.context.wrap_socket(self.connection, server_side=True)
        there = socket.create_connection(("127.0.0.1", self.server.sandbox_port))
        with secured as caller, there as sandbox:
            requests = threading.Thread(target=_copy, args=[caller, sandbox])
            requests.start()
            _copy(sandbox, caller)
            requests.join()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    # Either end may close the connection at any time.
    with contextlib.suppress(OSError):
        for data in iter(functools.partial(source.recv, 65536), b""):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)
