"""Benchmark 5: what grows with the number of hosts."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from bench.parts import (
    Backend,
    Fleet,
    Hetzner,
    Plain,
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
            *("hosts", "start s", "MB a worker", "unchanged/s", "of baseline", "CPU µs"),
            *("dashboard ms", "metrics ms", "background CPU %"),
        ),
        notes=[
            "Memory (PSS) after every worker has received updates from every host. Background: CPU",
            "time of all processes without requests. Baseline: a one-line Flask app.",
        ],
    )
    with running(Plain(folder / "plain")) as plain:
        for hosts in (10, 100, 1000, 10_000):
            _measure(folder / str(hosts), figure, scale, hosts, plain)
    return figure


def _measure(folder: Path, figure: Figure, scale: Scale, hosts: int, plain: Plain) -> None:
    fleet = Fleet(hosts, max(1, hosts // 400))
    requests = [nic_update(fleet, index) for index in range(hosts)]
    with contextlib.ExitStack() as stack:
        hetzner = stack.enter_context(running(Hetzner(folder / "hetzner", fleet)))
        backend = Backend(folder / "ours", fleet, hetzner.api_url)
        started = time.monotonic()
        stack.enter_context(running(backend))
        took = time.monotonic() - started
        wrk(
            [backend], requests, seconds=2 + hosts / 250
        )  # so that each worker gets updates from every host
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
    """Return the percentage of a core that is used without requests."""
    before = used(backend.pid)
    time.sleep(seconds)
    return (used(backend.pid) - before) * 100 / seconds


def _page(backend: Backend, path: str) -> float:
    took: list[float] = []
    for _ in range(5):
        started = time.monotonic()
        answer = backend.session.get(backend.url + path, auth=OPERATOR, timeout=60)
        took.append((time.monotonic() - started) * 1000)
        assert answer.status_code == 200, answer.text
    return median(took)
