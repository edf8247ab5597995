"""Benchmark 4: the nightly reconnect, when every host gets a new address."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Counter as Counts, Mapping

import requests

from bench.parts import DOCUMENTED, Backend, Fleet, Hetzner, nic_update, running
from bench.report import Figure, Scale, percentile
from tests.e2e.processes import new_session

_DURATION = 600.0  # seconds of Hetzner's time in which all hosts change
_FASTER = 4
_CALL = 0.1  # seconds that each call to Hetzner takes
_LIVE = 4  # further hosts, whose changes are timed one by one
_PATIENCE = 3600.0

# Shortens the hour of the quota in the backend; the sandbox gets the same value.
_QUICK = (
    "import runpy, backend.rate; backend.rate.HOUR = {hour}; "
    "runpy.run_module('backend', run_name='__main__')"
)


class Reconnect:
    """Hosts that change their address once, each at a random time."""

    def __init__(self, backend: Backend, hosts: int) -> None:
        self._backend = backend
        self._local = threading.local()
        self.answers: Counts[str] = Counter()
        self.live: list[tuple[float, int]] = []
        self._hosts = hosts
        self._start = time.monotonic()

    def run(self) -> None:
        order = random.Random(8)
        moments = [order.uniform(0, _DURATION / _FASTER) for _ in range(self._hosts)]
        due = sorted((moment, index) for index, moment in enumerate(moments))
        over = threading.Event()
        live = threading.Thread(target=self._live, args=(over,))
        live.start()
        with ThreadPoolExecutor(48) as pool:
            asked = []
            for moment, index in due:
                time.sleep(max(0.0, self._start + moment - time.monotonic()))
                asked.append(pool.submit(self._ask, index))
        over.set()
        live.join()
        self.answers.update(one.result() for one in asked)

    def _ask(self, index: int) -> str:
        try:
            return str(self._send(index, 1))
        except requests.RequestException as error:
            return type(error).__name__

    def _send(self, index: int, version: int) -> int:
        session = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = new_session()
        request = nic_update(self._backend.fleet, index, version)
        url = self._backend.url + request.path
        answer = session.get(url, headers=dict(request.headers), timeout=30)
        return int(answer.status_code)

    def _live(self, over: threading.Event) -> None:
        version = 1
        while not over.wait(20 / _FASTER):
            version = version % 200 + 1
            for index in range(self._hosts, self._hosts + _LIVE):
                started = time.monotonic()
                status = self._send(index, version)
                self.live.append((time.monotonic() - started, status))


def beside_least(folder: Path, scale: Scale) -> Figure:
    figure = Figure(
        "reconnect",
        "4. The nightly reconnect: hosts change within ten minutes, with documented rate limits",
        (
            *("", "published after s", "minimum s", "of minimum", "429 %", "calls"),
            *("live p50 s", "live max s", "live 503 %", "lost"),
        ),
        notes=[
            f"Hetzner's clock runs {_FASTER} times as fast here; live changes are in real time.",
            "Minimum: ten minutes, or the time that the quota needs for one write for each host.",
            "Target: 1.15 times the minimum, less than 1 % of 429, live below 8 s, nothing lost.",
            "Empty quota: another program has used it up. Zones aren't verified meanwhile, so most",
            "writes need a read before.",
        ],
    )
    hosts = scale.number(3000, 600)
    for name, is_empty in (("full quota", False), ("empty quota", True)):
        _measure(
            folder / name.split()[0], figure, f"{hosts} hosts, {name}", hosts, is_empty=is_empty
        )
    return figure


def _measure(folder: Path, figure: Figure, name: str, hosts: int, *, is_empty: bool) -> None:
    fleet = Fleet(hosts + _LIVE, 8)
    hour = 3600.0 / _FASTER
    with contextlib.ExitStack() as stack:
        hetzner = Hetzner(folder / "hetzner", fleet, limits=DOCUMENTED, hour=hour)
        stack.enter_context(running(hetzner))
        backend = Backend(folder / "ours", fleet, hetzner.api_url, checked_before=3600)
        backend.runs(_QUICK.format(hour=hour))
        stack.enter_context(running(backend))
        backend.verify()
        if is_empty:
            hetzner.use_up()
        hetzner.control("POST", "delay", seconds=_CALL)
        hetzner.forget_calls()
        started = time.time()
        run = Reconnect(backend, hosts)
        run.run()
        _wait(backend)
        calls, found = hetzner.calls(), hetzner.addresses()
    lost = sum(found[fleet.hosts[index]] != fleet.address(index, 1) for index in range(hosts))
    least = max(_DURATION, hosts * 3600 / DOCUMENTED[1] if is_empty else 0.0)
    took = (_last_write(calls, hosts) - started) * _FASTER
    refused = sum(call["status"] == 429 for call in calls) * 100 / len(calls)
    seconds = [one for one, _ in run.live]
    busy = sum(status != 200 for _, status in run.live) * 100 / len(run.live)
    figure.add(
        *(name, took, least, took / least, refused, len(calls)),
        *(percentile(seconds, 50), max(seconds), busy, lost),
    )
    answers = ", ".join(f"{number} × {status}" for status, number in sorted(run.answers.items()))
    figure.notes.append(f"{name}: answers to one update of each host: {answers}.")


def _wait(backend: Backend) -> None:
    end = time.monotonic() + _PATIENCE / _FASTER
    while backend.count("state <> 'published'") and time.monotonic() < end:
        time.sleep(1)


def _last_write(calls: list[Mapping[str, Any]], hosts: int) -> float:
    """Return when the last write for one of these hosts was answered."""
    names = {f"host{index}" for index in range(hosts)}
    ends = [
        float(call["ended"])
        for call in calls
        if call["path"].endswith("/set_records") and call["path"].split("/")[4] in names
    ]
    return max(ends)
