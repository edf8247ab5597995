"""Figure 2: how long unchanged updates take while Hetzner is slow and others change."""

from __future__ import annotations

import contextlib
import random
import threading
from collections import Counter
from pathlib import Path
from typing import Counter as Counts

from bench.parts import Backend, Hetzner, Load, Plain, Town, nic_update, running, wrk
from bench.report import Figure, Scale, median
from tests.e2e.processes import new_session

_CHANGING = 50
_HOSTS = 150
_PAUSE = 80  # milliseconds between two requests of one of 16 connections: 200 a second


class Changing:
    """Fifty hosts, each of which gets another address all the time."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._stopping = threading.Event()
        self.answers: Counts[str] = Counter()
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
        while not self._stopping.wait(random.uniform(0.5, 1.5)):
            version = version % 100 + 1
            request = nic_update(self._backend.town, index, version)
            url = self._backend.url + request.path
            answer = session.get(url, headers=dict(request.headers), timeout=20)
            self.answers[str(answer.status_code)] += 1
        session.close()


def beside_quiet(folder: Path, scale: Scale) -> Figure:
    figure = Figure(
        "slow_hetzner",
        "2. Unchanged updates (200/s) while 50 other hosts change and Hetzner takes 1 s a call",
        ("", "requests/s", "p50 ms", "p99 ms", "longest ms", "p99 of the quiet", "failed"),
        notes=[
            "Wanted: p99 at most twice the quiet one's, none over 100 ms. The longest one of the",
            "one-line app beside it says what the machine itself does to a request.",
        ],
    )
    town = Town(_HOSTS)
    requests = [nic_update(town, index) for index in range(_CHANGING, _HOSTS)]
    with contextlib.ExitStack() as stack:
        hetzner = stack.enter_context(running(Hetzner(folder / "hetzner", town)))
        backend = stack.enter_context(running(Backend(folder / "ours", town, hetzner.api_url)))
        plain = stack.enter_context(running(Plain(folder / "plain")))
        found: dict[str, list[Load]] = {
            name: [] for name in ("one line, quiet", "quiet", "one line, busy", "busy")
        }
        answers: Counts[str] = Counter()
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
    told = ", ".join(f"{number} × {status}" for status, number in sorted(answers.items()))
    figure.notes.append(f"The fifty were answered: {told}; 503 is for whoever finds no place.")
    return figure
