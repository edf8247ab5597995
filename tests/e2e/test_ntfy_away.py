"""Two workers together log an outage of ntfy once, and its end once; kills lose no push."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Iterator

import pytest

from tests.e2e.processes import HOSTS, Backend, Hetzner, until


class Ntfy(ThreadingHTTPServer):
    """Answers every push with 503 until `is_up` is set."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self.is_up = False
        self.failed: list[str] = []
        self.accepted: list[str] = []
        self.messages: list[str] = []


class Exchange(BaseHTTPRequestHandler):
    server: Ntfy

    def do_POST(self) -> None:
        push: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        titles = self.server.accepted if self.server.is_up else self.server.failed
        titles.append(push["title"])
        if self.server.is_up:
            self.server.messages.append(push["message"])
        answer = json.dumps({"topic": push["topic"], "title": push["title"]}).encode()
        self.send_response(200 if self.server.is_up else 503)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def ntfy() -> Iterator[Ntfy]:
    ntfy = Ntfy()
    thread = threading.Thread(target=ntfy.serve_forever, args=(0.05,))
    thread.start()
    yield ntfy
    ntfy.shutdown()
    thread.join()
    ntfy.server_close()


def test_two_workers_log_an_outage_and_its_end_once(
    ntfy: Ntfy, hetzner: Hetzner, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{ntfy.server_address[1]}"
    settings = {"NTFY_URL": url, "NTFY_TOPIC": "dyndns", "NOTIFY_ON_CHANGE": "1"}
    backend = Backend(tmp_path, hetzner, WEB_CONCURRENCY="2", **settings)
    backend.start()
    try:
        for name in HOSTS[:6]:  # by any worker
            backend.update(name, "198.51.100.1")
        until(lambda: len(ntfy.failed) >= 2, "a push to be retried", lambda: backend.output)
        ntfy.is_up = True
        until(lambda: set(ntfy.failed) <= set(ntfy.accepted), "the pushes", lambda: backend.output)
        until(lambda: "accepts pushes again" in backend.output, "the end", lambda: backend.output)
    finally:
        backend.stop()
    assert backend.output.count("No push gets through to ntfy (127.0.0.1 answers 503)") == 1
    assert backend.output.count("ntfy accepts pushes again") == 1


KILLS = min(10, int(os.environ.get("KILLS", "3")))
SEED = int(os.environ.get("SEED", "20261130"))


def test_kills_lose_no_push_of_an_accepted_update(
    ntfy: Ntfy, hetzner: Hetzner, tmp_path: Path
) -> None:
    chance = random.Random(SEED)  # noqa: S311
    ntfy.is_up = True
    url = f"http://127.0.0.1:{ntfy.server_address[1]}"
    settings = {"NTFY_URL": url, "NTFY_TOPIC": "dyndns", "NOTIFY_ON_CHANGE": "1"}
    backend = Backend(tmp_path, hetzner, WEB_CONCURRENCY="2", **settings)
    addresses = []
    for kill in range(KILLS + 1):
        backend.start()
        for number, name in enumerate(HOSTS[:2]):
            addresses.append(f"198.51.{100 + kill}.{number + 1}")
            backend.update(name, addresses[-1])
        if kill < KILLS:
            time.sleep(chance.uniform(0.0, 7.0))  # a push waits 5 s for others of its cause
            backend.kill()

    def missing() -> list[str]:
        return [one for one in addresses if not any(one in text for text in ntfy.messages)]

    until(lambda: not missing(), "the pushes", lambda: f"seed {SEED}: {missing()}")
    backend.stop()
