"""Replaces an ntfy server: receives the push notifications of the demo, and prints them."""

from __future__ import annotations

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from demo.processes import DemoFailed, say

_MOST_BYTES = 100_000


class Pushes:
    """A server on a free port of this machine."""

    def __init__(self) -> None:
        self._titles: list[str] = []
        self._changed = threading.Condition()
        pushes = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = min(int(self.headers.get("Content-Length", 0)), _MOST_BYTES)
                push = self.rfile.read(size)
                pushes.add(json.loads(push))
                self.send_response(200)
                self.end_headers()
                self.wfile.write(push)  # as a receipt

            def log_message(self, *_: object) -> None:
                """Print only the pushes."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    def add(self, push: dict[str, str]) -> None:
        """Print a push."""
        with contextlib.suppress(OSError):  # the terminal has gone
            say(f"      {'push':>7} | {push['title']} (priority {push['priority']})")
            for line in push["message"].splitlines():
                say(f"      {'':>7} | {line}")
        with self._changed:
            self._titles.append(push["title"])
            self._changed.notify_all()

    def expect(self, title: str, seconds: float) -> None:
        """Wait for a push; raise `DemoFailed` if there is none in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: title in self._titles, seconds):
                raise DemoFailed(f"There was no push '{title}'.")

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
