"""Benchmark 2: the duration of unchanged updates while other hosts change and Hetzner is slow."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from pathlib import Path

from bench.parts import Backend, Fleet, Hetzner, Load, Plain, nic_update, running, wrk
from bench.report import Figure, Scale, median
from tests.e2e.processes import new_session

_CHANGING = 50
_HOSTS = 150
_PATIENCE = 8.0
_PAUSE = 80  # milliseconds between two requests of one of 16 connections: 200 a second


class Changing:
    """Fifty hosts that change their addresses: first all at once, then each again and again."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._stopping = threading.Event()
        self.answers: list[tuple[float, int]] = []  # seconds and status
        self._threads = [
            threading.Thread(target=self._run, args=(index,)) for index in range(_CHANGING)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _run(self, index: int) -> None:
        session, version = new_session(), 0
        while not self._stopping.is_set():
            version = version % 100 + 1
            request = nic_update(self._backend.fleet, index, version)
            url = self._backend.url + request.path
            start = time.monotonic()
            answer = session.get(url, headers=dict(request.headers), timeout=20)
            self.answers.append((time.monotonic() - start, answer.status_code))
            self._stopping.wait(random.uniform(0.5, 1.5))
        session.close()


def beside_quiet(folder: Path, scale: Scale) -> Figure:
    figure = Figure(
        "slow_hetzner",
        "2. Unchanged updates (200/s) while 50 other hosts change and Hetzner takes 1 s a call",
        ("", "requests/s", "p50 ms", "p99 ms", "max ms", "p99 of quiet", "failed"),
        notes=[
            "Target: p99 at most twice that of the quiet run, no request over 100 ms. The maximum",
            "of the one-line app shows the influence of the machine.",
        ],
    )
    fleet = Fleet(_HOSTS)
    requests = [nic_update(fleet, index) for index in range(_CHANGING, _HOSTS)]
    with contextlib.ExitStack() as stack:
        hetzner = stack.enter_context(running(Hetzner(folder / "hetzner", fleet)))
        backend = stack.enter_context(running(Backend(folder / "ours", fleet, hetzner.api_url)))
        plain = stack.enter_context(running(Plain(folder / "plain")))
        found: dict[str, list[Load]] = {
            name: [] for name in ("one line, quiet", "quiet", "one line, busy", "busy")
        }
        answers: list[tuple[float, int]] = []
        for _ in range(scale.number(5, 2)):
            seconds = scale(20, 6)
            paced = {"seconds": seconds, "pause": _PAUSE}
            found["one line, quiet"].append(wrk([plain], requests, **paced))
            found["quiet"].append(wrk([backend], requests, **paced))
            hetzner.control("POST", "delay", seconds=1)
            changing = Changing(backend)
            found["one line, busy"].append(wrk([plain], requests, **paced))
            found["busy"].append(wrk([backend], requests, **paced))
            changing.stop()
            hetzner.control("DELETE", "delay")
            answers += changing.answers
    for name, loads in found.items():
        figure.add(
            name,
            median(one.rate for one in loads),
            median(one.p50 for one in loads),
            median(one.p99 for one in loads),
            max(one.most for one in loads),
            median(one.p99 / other.p99 for one, other in zip(loads, found["quiet"])),
            sum(one.failed for one in loads),
        )
    good = [seconds for seconds, status in answers if status == 200]
    share = 100 * sum(seconds < _PATIENCE for seconds in good) / len(answers)
    figure.notes += [
        f"{len(answers)} changes of the fifty hosts: {share:.1f} % `good` within {_PATIENCE:.0f} s",
        f"(target 95 %), median {median(good):.1f} s.",
    ]
    return figure
