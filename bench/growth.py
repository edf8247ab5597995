"""Figure 5: what grows with the number of hosts."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import List

from bench.parts import (
    Backend,
    Hetzner,
    Plain,
    Town,
    children,
    memory,
    nic_update,
    running,
    used,
    wrk,
)
from bench.report import Figure, Scale, median
from tests.e2e.processes import OPERATOR


def by_hosts(folder: Path, scale: Scale) -> Figure:
    figure = Figure(
        "growth",
        "5. Growth",
        (
            *("hosts", "start s", "MB a worker", "unchanged/s", "of one line", "CPU µs"),
            *("status page ms", "metrics ms", "background CPU %"),
        ),
        notes=[
            "Memory after every host has been heard of by every worker; what is shared counts by",
            "its share. Background: the CPU time of all processes while nobody asks.",
        ],
    )
    with running(Plain(folder / "plain")) as plain:
        for hosts in (10, 100, 1000, 10_000):
            _measure(folder / str(hosts), figure, scale, hosts, plain)
    return figure


def _measure(folder: Path, figure: Figure, scale: Scale, hosts: int, plain: Plain) -> None:
    town = Town(hosts, max(1, hosts // 400))
    requests = [nic_update(town, index) for index in range(hosts)]
    with contextlib.ExitStack() as stack:
        hetzner = stack.enter_context(running(Hetzner(folder / "hetzner", town)))
        backend = Backend(folder / "ours", town, hetzner.api_url)
        started = time.monotonic()
        stack.enter_context(running(backend))
        took = time.monotonic() - started
        wrk([backend], requests, seconds=2 + hosts / 250)  # so that both workers know them all
        ours, others = [], []
        for _ in range(scale.number(5, 2)):
            others.append(wrk([plain], requests, seconds=scale(5, 2)))
            ours.append(wrk([backend], requests, seconds=scale(5, 2)))
        workers = [memory(pid) for pid in children(backend.pid)]
        background = _background(backend, scale(30, 10))
        figure.add(
            *(hosts, took, median(workers), median(one.rate for one in ours)),
            median(one.rate / other.rate for one, other in zip(ours, others)),
            median(one.work for one in ours),
            *(_page(backend, "/"), _page(backend, "/metrics"), background),
        )


def _background(backend: Backend, seconds: float) -> float:
    """Return the per cent of a core that is used while nobody asks."""
    before = used(backend.pid)
    time.sleep(seconds)
    return (used(backend.pid) - before) * 100 / seconds


def _page(backend: Backend, path: str) -> float:
    took: List[float] = []
    for _ in range(5):
        started = time.monotonic()
        answer = backend.session.get(backend.url + path, auth=OPERATOR, timeout=60)
        took.append((time.monotonic() - started) * 1000)
        assert answer.status_code == 200, answer.text
    return median(took)
