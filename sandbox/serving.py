"""Serves a WSGI app over HTTP/1.1 with persistent connections, like Hetzner."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
from typing import Any

from flask import Flask
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Response

_POLL_SECONDS = 0.02


class _Connection(WSGIRequestHandler):
    """One persistent connection; Werkzeug would close it after each answer."""

    protocol_version = "HTTP/1.1"
    # Buffer headers and body, and send them in one write.
    wbufsize = -1
    # A second write for a longer answer must not wait for an acknowledgement.
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.server.connections.append(self.connection)  # type: ignore[attr-defined]

    def finish(self) -> None:
        self.server.connections.remove(self.connection)  # type: ignore[attr-defined]
        super().finish()

    def run_wsgi(self) -> None:
        environ = self.make_environ()
        # Read the whole body: the rest would be parsed as the next request.
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
        """Send 100 Continue at once: the client waits for it before it sends the body."""
        goes_on = super().handle_expect_100()
        self.wfile.flush()
        return goes_on

    def log_request(self, *_: object) -> None:
        """Log nothing: the journal has the calls."""

    def _body(self, environ: dict[str, Any]) -> bytes:
        if environ.get("wsgi.input_terminated"):
            chunks: bytes = environ["wsgi.input"].read()
            return chunks
        length = self.headers.get("Content-Length", "0")
        return self.rfile.read(int(length) if length.isdigit() else 0)


class HttpServer:
    """Serves the app on a listening socket; `stop` closes open connections."""

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
        self._connections: list[socket.socket] = []
        self._server.connections = self._connections  # type: ignore[attr-defined]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=[_POLL_SECONDS], daemon=True
        )
        self._thread.start()
        # The server uses a duplicate of the socket.
        listening.close()

    def stop(self) -> None:
        """Stop the server and close open connections."""
        self._server.shutdown()
        self._thread.join()
        for connection in list(self._connections):
            # The client may have closed it just now.
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
