"""Serves a WSGI app over HTTP/1.1 with connections that stay open, as Hetzner's do."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
from typing import Any, Dict, List

from flask import Flask
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Response

_POLL_SECONDS = 0.02


class _Connection(WSGIRequestHandler):
    """One connection; Werkzeug itself would close it after each answer."""

    protocol_version = "HTTP/1.1"
    # Headers and body are gathered and go out in one write.
    wbufsize = -1
    # A second write, of what is longer, is not to wait for an acknowledgement.
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.server.connections.append(self.connection)  # type: ignore[attr-defined]

    def finish(self) -> None:
        self.server.connections.remove(self.connection)  # type: ignore[attr-defined]
        super().finish()

    def run_wsgi(self) -> None:
        environ = self.make_environ()
        # The body is read whole, or what is left of it would be taken for the next request.
        environ["wsgi.input"] = io.BytesIO(self._body(environ))
        try:
            response = Response.from_app(self.server.app, environ, buffered=True)
        except ConnectionError:
            self.close_connection = True
            return
        self.send_response(response.status_code)
        for name, value in response.headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.data)

    def handle_expect_100(self) -> bool:
        """Say "go on" at once: the caller waits for it, and holds the body back."""
        goes_on = super().handle_expect_100()
        self.wfile.flush()
        return goes_on

    def log_request(self, *_: object) -> None:
        """Say nothing: whoever wants to know looks at the calls."""

    def _body(self, environ: Dict[str, Any]) -> bytes:
        if environ.get("wsgi.input_terminated"):
            chunks: bytes = environ["wsgi.input"].read()
            return chunks
        length = self.headers.get("Content-Length", "0")
        return self.rfile.read(int(length) if length.isdigit() else 0)


class HttpServer:
    """The app behind a listening socket; `stop` cuts the connections that are still open."""

    def __init__(self, app: Flask, listening: socket.socket) -> None:
        host, self.port = listening.getsockname()[:2]
        self._server = make_server(
            host,
            self.port,
            app,
            threaded=True,
            request_handler=_Connection,
            fd=listening.fileno(),
        )
        self._connections: List[socket.socket] = []
        self._server.connections = self._connections  # type: ignore[attr-defined]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=[_POLL_SECONDS], daemon=True
        )
        self._thread.start()
        # The server works on a copy of the socket.
        listening.close()

    def stop(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._thread.join()
        for connection in list(self._connections):
            # It may have been closed from the other side just now.
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
