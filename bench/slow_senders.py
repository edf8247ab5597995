"""What slow senders cost everybody else: `python -m bench.slow_senders`.

Two hundred connections send a byte every half second and never come to an end. Meanwhile one honest
client asks for its unchanged address again and again. With gunicorn's own worker, with ours, and
with nginx in front of gunicorn's own (if nginx is installed).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Iterator, List, Optional

import requests

from sandbox import Sandbox
from tests.e2e.processes import Program, free_port, until

HOST = "home.example.com"
KEY = "the-key-of-home-example-com"
_PATIENCE = 5.0  # seconds the honest client waits for an answer


class Backend(Program):
    """The service with its defaults; perhaps with gunicorn's own worker."""

    def __init__(self, folder: Path, sandbox: Sandbox, *, plain: bool) -> None:
        self.port = free_port()
        folder.mkdir(parents=True)
        (folder / "pre-shared-key").write_text(f"{HOST} {KEY}\n", encoding="utf-8")
        settings = {
            "HETZNER_TOKEN": sandbox.token,
            "HETZNER_API_URL": sandbox.http_url,
            "REGISTERED_FQDNS": HOST,
            "LISTEN_ADDRESS": "127.0.0.1",
            "LISTEN_PORT": str(self.port),
        }
        start = ["-m", "bench.plain_worker" if plain else "backend"]
        super().__init__("backend", start, folder, **settings)


@contextlib.contextmanager
def nginx(folder: Path, backend_port: int) -> Iterator[int]:
    """Run nginx in front of the backend, as the README shows it; give its port."""
    port = free_port()
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;"
        "worker_processes 1; events { worker_connections 2048; } http { access_log off;"
        f"client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;"
        f"fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;"
        f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_set_header X-Real-Ip $remote_addr;"
        f"proxy_pass http://127.0.0.1:{backend_port}; }} }} }}",
        encoding="utf-8",
    )
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    process = subprocess.Popen([program, "-p", str(folder), "-c", str(folder / "nginx.conf")])
    try:
        until(lambda: _listens(port), "nginx")
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def dribbling(port: int, number: int) -> Iterator[None]:
    """Keep so many connections that never bring a whole request; who is turned away comes again."""
    stopping = threading.Event()

    def dribble() -> None:
        connections: List[socket.socket] = []
        while not stopping.wait(0.5):
            for connection in list(connections):
                try:
                    connection.send(b"x")
                except OSError:
                    connections.remove(connection)
            while len(connections) < number and not stopping.is_set():
                connection = socket.create_connection(("127.0.0.1", port), timeout=5)
                connection.send(b"GET /nic/update?hostname=")
                connections.append(connection)
        for connection in connections:
            connection.close()

    thread = threading.Thread(target=dribble)
    thread.start()
    time.sleep(2)  # they shall all be there
    yield
    stopping.set()
    thread.join()


def asks(port: int) -> Optional[float]:
    """Ask once over a connection of its own; return the milliseconds, `None` without an answer."""
    begun = time.perf_counter()
    try:
        answer = requests.post(
            f"http://127.0.0.1:{port}/update",
            json={"fqdn": HOST, "ip": "198.51.100.1"},
            headers={"X-Pre-Shared-Key": KEY},
            timeout=_PATIENCE,
        )
    except requests.RequestException:
        return None
    return (time.perf_counter() - begun) * 1000 if answer.ok else None


def measure(name: str, port: int, slow: int, seconds: float) -> dict:
    """Ask for some seconds; print and return what came of it."""
    asks(port)
    with dribbling(port, slow) if slow else contextlib.nullcontext():
        took = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            took.append(asks(port))
    answered = sorted(one for one in took if one is not None)
    median = statistics.median(answered) if answered else None
    worst = answered[int(len(answered) * 0.99)] if answered else None
    shown = [f"{one:8.1f}" if one is not None else "       -" for one in (median, worst)]
    print(f"{name:34} {slow:5} {len(answered):9} {len(took) - len(answered):11} {' '.join(shown)}")
    row = {"service": name, "slow_senders": slow, "answered": len(answered)}
    return {**row, "unanswered": len(took) - len(answered), "p50_ms": median, "p99_ms": worst}


def main() -> None:
    """Measure each service without and with slow senders."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--number", type=int, default=200, help="slow senders")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()
    rows = []
    print(f"{'':34} {'slow':>5} {'answered':>9} {'in vain':>11} {'p50 ms':>8} {'p99 ms':>8}")
    with tempfile.TemporaryDirectory() as folder, Sandbox(["example.com"]) as sandbox:
        for plain in (True, False):
            backend = Backend(Path(folder) / str(plain), sandbox, plain=plain)
            backend.start()
            try:
                until(lambda: _listens(backend.port), "the start", lambda: backend.output)  # noqa: B023
                name = "gunicorn's own worker" if plain else "ours"
                figures = (arguments.number, arguments.seconds)
                rows.append(measure(name, backend.port, 0, arguments.seconds / 4))
                rows.append(measure(name, backend.port, *figures))
                if plain and (shutil.which("nginx") or Path("/usr/sbin/nginx").exists()):
                    with nginx(Path(folder), backend.port) as port:
                        rows.append(measure("nginx before gunicorn's own", port, *figures))
            finally:
                backend.kill()
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
