"""Benchmark 5: what grows with the number of hosts, and what the pages of many hosts cost."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Iterator

from bench.parts import (
    Backend,
    Fleet,
    Hetzner,
    Load,
    Plain,
    children,
    memory,
    nic_update,
    running,
    used,
    wrk,
)
from bench.report import Figure, Scale, median
from tests.e2e.processes import OPERATOR, new_session

_MANY = 10_000  # hosts
_PAGES_AT_ONCE = 16
_TIMES = 10
_PAUSE = 80  # milliseconds between two requests of one of 16 connections: 200 a second


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
            *(_page(backend, "/")[0], _page(backend, "/metrics")[0], background),
        )


def beside_pages(folder: Path, scale: Scale) -> Figure:
    figure = Figure(
        "pages",
        f"6. Pages with {_MANY:,} hosts, and unchanged updates (200/s) meanwhile",
        (
            "a page in a loop",
            "ms",
            "CPU ms",
            "p99 ms",
            "p99 of quiet",
            "one-line app",
            "MB a worker",
        ),
        notes=[
            "CPU: of all processes for a page. p99: of the updates; for the one-line Flask app",
            "in the same minute, p99 relative to its quiet one. Memory (PSS): afterwards.",
        ],
    )
    fleet = Fleet(_MANY, _MANY // 400)
    requests = [nic_update(fleet, index) for index in range(0, _MANY, 100)]
    with contextlib.ExitStack() as stack:
        hetzner = stack.enter_context(running(Hetzner(folder / "hetzner", fleet)))
        backend = stack.enter_context(running(Backend(folder / "ours", fleet, hetzner.api_url)))
        plain = stack.enter_context(running(Plain(folder / "plain")))
        wrk([backend], requests, seconds=2)
        quiet: dict[str, list[Load]] = {"ours": [], "plain": []}
        figure.add("none, at the start", *[""] * 5, _worker_memory(backend))
        for path in ("/", "/?q=host7", "/metrics"):
            ours, others = [], []
            took, work = _page(backend, path)
            for _ in range(scale.number(3, 1)):
                paced = {"seconds": scale(20, 6), "pause": _PAUSE}
                quiet["ours"].append(wrk([backend], requests, **paced))
                quiet["plain"].append(wrk([plain], requests, **paced))
                with _loading(backend, path):
                    ours.append(wrk([backend], requests, **paced))
                    others.append(wrk([plain], requests, **paced))
            figure.add(
                *(path, took, work, median(one.p99 for one in ours)),
                median(one.p99 / other.p99 for one, other in zip(ours, quiet["ours"][-3:])),
                median(one.p99 / other.p99 for one, other in zip(others, quiet["plain"][-3:])),
                _worker_memory(backend),
            )
        for path in ("/", "/metrics"):
            with ThreadPoolExecutor(_PAGES_AT_ONCE) as pool:
                started = time.monotonic()
                list(pool.map(_get, [backend] * 3 * _PAGES_AT_ONCE, [path] * 3 * _PAGES_AT_ONCE))
                took = (time.monotonic() - started) * 1000
            name = f"{path}, {_PAGES_AT_ONCE} at once"
            figure.add(name, took / 3 / _PAGES_AT_ONCE, *[""] * 4, _worker_memory(backend))
    return figure


def _worker_memory(backend: Backend) -> float:
    return median(memory(pid) for pid in children(backend.pid))


def _get(backend: Backend, path: str) -> None:
    with new_session() as session:
        answer = session.get(backend.url + path, auth=OPERATOR, timeout=60)
        assert answer.status_code == 200, answer.text


@contextlib.contextmanager
def _loading(backend: Backend, path: str) -> Iterator[None]:
    """Load a page in a loop."""
    stopping = threading.Event()

    def load() -> None:
        while not stopping.is_set():
            _get(backend, path)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def _background(backend: Backend, seconds: float) -> float:
    """Return the percentage of a core that is used without requests."""
    before = used(backend.pid)
    time.sleep(seconds)
    return (used(backend.pid) - before) * 100 / seconds


def _page(backend: Backend, path: str) -> tuple[float, float]:
    """Return the duration of a page, and the CPU time that it takes, in milliseconds."""
    took: list[float] = []
    before = used(backend.pid)
    for _ in range(_TIMES):
        started = time.monotonic()
        _get(backend, path)
        took.append((time.monotonic() - started) * 1000)
    return median(took), (used(backend.pid) - before) * 1000 / _TIMES
