"""A fake ntfy server that records pushes and fails on request."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FakeNtfy:
    """A fake ntfy server. `status` is the status of the next answers; 0 drops the connection."""

    def __init__(self) -> None:
        self.status = 200
        self.pushes: list[bytes] = []
        self.logins: list[str] = []
        ntfy = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                ntfy.pushes.append(self.path.encode() + b" " + body)
                ntfy.logins.append(self.headers.get("Authorization", ""))
                if ntfy.status:
                    # The answer echoes the login.
                    self.send_response(ntfy.status, ntfy.logins[-1])
                    self.send_header("Location", f"/?{ntfy.logins[-1]}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
