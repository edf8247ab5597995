"""Benchmark: the duration of updates while ntfy works, refuses, is unreachable, slow or limiting.

    python -m bench.ntfy [--updates 1500]

One host sends unchanged updates while others change their addresses, which causes pushes.
"""

from __future__ import annotations

import argparse
import re
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Iterator

from tests.e2e.ntfy_server import TOPIC, WRITER, Line, NtfyServer
from tests.e2e.processes import HOSTS, Backend, Hetzner, free_port, new_session

_QUIET, _BUSY = HOSTS[0], HOSTS[1:9]


class Changing:
    """Hosts that change their addresses repeatedly."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._stopping = threading.Event()
        self.seconds: list[float] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        while not self._stopping.wait(0.05):
            number += 1
            address = f"10.0.{number // 200}.{number % 200 + 1}"
            started = time.perf_counter()
            assert self._backend.update(_BUSY[number % len(_BUSY)], address)["ip"] == address
            self.seconds.append(time.perf_counter() - started)


def measure(backend: Backend, updates: int) -> tuple[list[float], list[float]]:
    backend.update(_QUIET, "198.51.100.1")
    changing = Changing(backend)
    seconds = []
    router = new_session()
    # The request fits into one packet: two would measure the delayed ACK of TCP.
    url = f"{backend.url}/nic/update?hostname={_QUIET}&myip=198.51.100.1"
    router.auth = (_QUIET, backend.key_of(_QUIET))
    for _ in range(updates):
        started = time.perf_counter()
        assert router.get(url, timeout=20).text == "nochg 198.51.100.1\n"
        seconds.append(time.perf_counter() - started)
    router.close()
    changing.stop()
    return seconds, changing.seconds


def cases(ntfy: NtfyServer) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the name of each case and its settings."""
    on = {"NOTIFY_ON_CHANGE": "1"}
    yield "no ntfy", {}
    yield "ntfy works", {**on, **ntfy.settings()}
    yield "wrong password", {**on, **ntfy.settings(NTFY_USERNAME=WRITER[0], NTFY_PASSWORD="no")}
    closed = f"http://127.0.0.1:{free_port()}"
    yield "closed port", {**on, "NTFY_URL": closed, "NTFY_TOPIC": TOPIC}
    line = Line(ntfy.port, seconds=5.0)
    line.open()
    yield "5 s delay", {**on, **ntfy.settings(), "NTFY_URL": line.url}
    line.close()
    ntfy.stop()
    ntfy.set_limit(5)
    ntfy.start()
    yield "429", {**on, **ntfy.settings()}


def shown(seconds: list[float]) -> str:
    p50, p99 = statistics.median(seconds), statistics.quantiles(seconds, n=100)[98]
    return f"{p50 * 1e3:8.1f} {p99 * 1e3:8.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=1500, metavar="N")
    updates = parser.parse_args().updates
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hetzner = Hetzner(folder / "hetzner")
        hetzner.start()
        ntfy = NtfyServer(folder / "ntfy")
        ntfy.start()
        print(f"{'milliseconds':16} unchanged: p50      p99   changed: p50      p99  pushes missed")
        for number, (case, settings) in enumerate(cases(ntfy)):
            backend = Backend(folder / str(number), hetzner, REQUEST_CACHE_TTL="3600", **settings)
            backend.start()
            quiet, changing = measure(backend, updates)
            backend.stop()
            missed = sum(map(int, re.findall(r"(\d+) push(?:es)? lost", backend.output)))
            print(f"{case:16} {shown(quiet):>19} {shown(changing):>21} {missed:14}", flush=True)
        ntfy.close()
        hetzner.stop()


if __name__ == "__main__":
    main()
