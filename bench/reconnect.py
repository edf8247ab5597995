"""Benchmarks 4 and 9: the nightly reconnect, and the backlog after an outage of Hetzner."""

from __future__ import annotations

import contextlib
import queue
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
_THREADS = 8

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
        live = threading.Thread(target=self.send_live, args=(over,))
        live.start()
        with ThreadPoolExecutor(48) as pool:
            asked = []
            for moment, index in due:
                time.sleep(max(0.0, self._start + moment - time.monotonic()))
                asked.append(pool.submit(self.ask, index))
        over.set()
        live.join()
        self.answers.update(one.result() for one in asked)

    def ask(self, index: int) -> str:
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

    def send_live(self, over: threading.Event) -> None:
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
        hetzner.clear_calls()
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


def backlog(folder: Path, scale: Scale) -> Figure:
    figure = Figure(
        "backlog",
        "9. The backlog after an outage: Hetzner answers again, and takes 100 ms a call",
        ("", "seconds", "hosts a second", "of minimum", "live max s", "lost"),
        notes=[
            "From the first call that succeeds to the last write. Minimum: the same calls, a read",
            "and a write for each host, with eight threads and nothing else.",
        ],
    )
    hosts = scale.number(334, 120)
    fleet = Fleet(hosts + _LIVE, 4)
    with contextlib.ExitStack() as stack:
        hetzner = stack.enter_context(
            running(Hetzner(folder / "hetzner", fleet, limits=DOCUMENTED))
        )
        backend = stack.enter_context(
            running(Backend(folder / "ours", fleet, hetzner.api_url, checked_before=3600))
        )
        backend.verify()
        hetzner.control("POST", "fail", status=503, count=1_000_000)
        run = Reconnect(backend, hosts)
        with ThreadPoolExecutor(16) as pool:
            answers = Counter(pool.map(run.ask, range(hosts)))
        hetzner.control("DELETE", "fail")
        hetzner.control("POST", "delay", seconds=_CALL)
        hetzner.clear_calls()
        over = threading.Event()
        live = threading.Thread(target=run.send_live, args=(over,))
        live.start()
        _wait(backend)
        over.set()
        live.join()
        calls, found = hetzner.calls(), hetzner.addresses()
        least = _directly(hetzner, fleet, hosts)
    lost = sum(found[fleet.hosts[index]] != fleet.address(index, 1) for index in range(hosts))
    took = _last_write(calls, hosts) - min(float(call["started"]) for call in calls)
    slowest = max(seconds for seconds, _ in run.live)
    figure.add("ours", took, hosts / took, took / least, slowest, lost)
    figure.add("minimum", least, hosts / least, 1.0, 0.0, 0)
    figure.notes.append(f"Answers during the outage: {dict(answers)}.")
    return figure


def _directly(hetzner: Hetzner, fleet: Fleet, hosts: int) -> float:
    """Read and write the records of hosts; return the seconds."""

    def change(index: int) -> None:
        label, _, zone = fleet.hosts[index].partition(".")
        path = f"{hetzner.api_url}/zones/{zone}/rrsets"
        session = sessions.get()
        session.get(path, params={"name": label}, timeout=20).raise_for_status()
        body = {"records": [{"value": fleet.address(index, 2)}]}
        path += f"/{label}/A/actions/set_records"
        session.post(path, json=body, timeout=20).raise_for_status()
        sessions.put(session)

    sessions: queue.Queue[requests.Session] = queue.Queue()
    for _ in range(_THREADS):
        sessions.put(new_session())
        sessions.queue[-1].headers.update(hetzner.session.headers)
    start = time.monotonic()
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(change, range(hosts)))
    return time.monotonic() - start


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
