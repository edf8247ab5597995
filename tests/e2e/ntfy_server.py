"""A real ntfy server with users, access control and a token, and a slow connection to it."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

from tests.e2e.processes import Program, new_session, run, until
from tests.ports import free_port

TOPIC = "dyndns"
WRITER = ("dyndns", "the-writers-pässword")
OWNER = ("owner", "the-owners-password")
_ATTEMPTS = 5


class NtfyServer(Program):
    """An ntfy server. `dyndns` may only write to the topic, `owner` may only read it.

    The server answers 429 after `most` requests, and accepts one more each second.
    """

    def __init__(self, folder: Path, most: int = 0, certificate: Path | None = None) -> None:
        """With the file of a certificate and its private key, the server also speaks TLS."""
        super().__init__("ntfy", [], folder)
        self.port, self.tls_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._tls = ""
        if certificate is not None:
            self._tls = (
                f'listen-https: "127.0.0.1:{self.tls_port}"\n'
                f'cert-file: "{certificate}"\nkey-file: "{certificate}"\n'
            )
        self._config = folder / "server.yml"
        self._command = [str(shutil.which("ntfy")), "serve", "--config", str(self._config)]
        self._session = new_session()
        self.set_limit(most)
        self.token = ""

    def set_limit(self, most: int) -> None:
        limit = 'visitor-request-limit-exempt-hosts: "127.0.0.1"'
        if most:
            limit = f'visitor-request-limit-burst: {most}\nvisitor-request-limit-replenish: "1s"'
        self._config.write_text(
            f'base-url: "{self.url}"\n'
            f'listen-http: "127.0.0.1:{self.port}"\n'
            f'cache-file: "{self.folder / "cache.db"}"\n'
            f'auth-file: "{self.folder / "user.db"}"\n'
            'auth-default-access: "deny-all"\n'
            f'log-format: "text"\n{limit}\n{self._tls}',
            encoding="utf-8",
        )

    def _add_users(self) -> str:
        for name, password in (WRITER, OWNER):
            self._manage("user", "add", name, NTFY_PASSWORD=password)
        self._manage("access", WRITER[0], TOPIC, "write-only")
        self._manage("access", OWNER[0], TOPIC, "read-only")
        output = self._manage("token", "add", WRITER[0])
        found = re.search(r"tk_\w+", output)
        assert found is not None, output
        return found.group()

    def _manage(self, *words: str, **variables: str) -> str:
        variables["NTFY_CONFIG_FILE"] = str(self._config)
        done = run([self._command[0], *words], self.folder, **variables)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def start(self) -> None:
        super().start()
        self.wait_until(self._is_well, "to be well")
        if not self.token:
            self.token = self._add_users()

    def stop(self) -> None:
        """Stop the server if it runs."""
        if self.is_running:
            assert self._process is not None
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(20)

    def close(self) -> None:
        self.stop()
        self._session.close()

    def settings(self, **login: str) -> dict[str, str]:
        """Return the backend's settings for this server; with the token by default."""
        return {"NTFY_URL": self.url, "NTFY_TOPIC": TOPIC, **(login or {"NTFY_TOKEN": self.token})}

    def messages(self, about: str = "") -> list[dict[str, Any]]:
        """Return the messages whose title contains a text."""
        found = [json.loads(line) for line in self._poll().splitlines()]
        return [one for one in found if about in one.get("title", "")]

    def _poll(self) -> str:
        """Return all messages. ntfy 2.11 sometimes answers 403 during other requests."""
        for _ in range(_ATTEMPTS):
            answer = self._session.get(
                f"{self.url}/{TOPIC}/json", params={"poll": "1"}, auth=OWNER, timeout=20
            )
            if answer.status_code != 403:
                break
        assert answer.status_code == 200, answer.text
        return answer.text

    def titles(self, about: str = "") -> list[str]:
        return [one["title"] for one in self.messages(about)]

    def expect(self, title: str) -> dict[str, Any]:
        """Wait for the only message with this title, and return it."""
        until(lambda: self.messages(title), f"a push: {title}", lambda: str(self.titles()))
        (message,) = self.messages(title)
        return message

    def _is_well(self) -> bool:
        try:
            return self._session.get(f"{self.url}/v1/health", timeout=5).status_code == 200
        except OSError:
            return False


class Line:
    """A TCP proxy that delays all data until it is opened.

    After that it delays what callers send by the given number of seconds.
    """

    def __init__(self, port: int, seconds: float = 0.0) -> None:
        self._to = port
        self._seconds = seconds
        self._sink = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._sink.getsockname()[1]}"
        self._is_open = threading.Event()
        self._ends: list[socket.socket] = []
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def open(self) -> None:
        self._is_open.set()

    def close(self) -> None:
        self.open()
        for end in (self._sink, *self._ends):
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._sink.accept()
            except OSError:
                return
            self.connections += 1
            server = socket.create_connection(("127.0.0.1", self._to))
            self._ends += [caller, server]
            for way in ((caller, server, self._seconds), (server, caller, 0.0)):
                threading.Thread(target=self._pump, args=way, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, seconds: float) -> None:
        try:
            while chunk := source.recv(65536):
                self._is_open.wait()
                time.sleep(seconds)
                sink.sendall(chunk)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return
