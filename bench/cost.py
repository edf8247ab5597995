"""Figure 3: what is asked of Hetzner, counted by the stand-in."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path
from typing import Any, Iterable, Mapping

from bench.parts import Backend, Hetzner, Request, Town, nic_update, running, wrk
from bench.report import Figure, Scale

_HOSTS = 100
_CHANGES = 20
# The clock runs five times as fast: whole zones are verified from a REQUEST_CACHE_TTL of 60 on.
_FASTER = 5
_CACHE_TTL = 300
_POLL = 60


def counted(folder: Path, scale: Scale) -> Figure:
    figure = Figure(
        "cost",
        "3. Calls to Hetzner",
        ("", "calls", "yardstick", "which calls"),
    )
    _small(folder / "small", figure)
    _large(folder / "large", figure, scale)
    return figure


def _small(folder: Path, figure: Figure) -> None:
    town = Town(_HOSTS)
    with contextlib.ExitStack() as stack:
        hetzner = stack.enter_context(running(Hetzner(folder / "hetzner", town)))
        backend = stack.enter_context(
            running(Backend(folder / "ours", town, hetzner.api_url, checked_before=3600))
        )
        backend.verify()
        hetzner.forget_calls()
        for _ in range(5):
            _send(backend, (nic_update(town, index) for index in range(_HOSTS)), "nochg")
        figure.add(f"{5 * _HOSTS} unchanged updates", len(hetzner.calls()), 0, "")
        hetzner.forget_calls()
        _send(backend, (nic_update(town, index, 1) for index in range(_CHANGES)), "good")
        backend.wait_until(lambda: not backend.count("state <> 'published'"), "the end of it")
        told = _told(hetzner.calls())
        figure.add(f"{_CHANGES} usual changes", len(hetzner.calls()), _CHANGES, told)


def _large(folder: Path, figure: Figure, scale: Scale) -> None:
    hosts = scale.number(10_000, 1_000)
    town = Town(hosts, 25)
    cycle = _CACHE_TTL / _FASTER
    cycles = scale.number(3, 2)
    with contextlib.ExitStack() as stack:
        hetzner = stack.enter_context(running(Hetzner(folder / "hetzner", town)))
        ttl = f"{cycle:.0f}"
        backend = stack.enter_context(
            running(Backend(folder / "ours", town, hetzner.api_url, REQUEST_CACHE_TTL=ttl))
        )
        requests = [nic_update(town, index) for index in range(hosts)]
        wrk([backend], requests[:200], seconds=2)
        hetzner.forget_calls()
        # Sixteen connections that ask for every host once in a scaled minute.
        pause = round(16 * _POLL / _FASTER / hosts * 1000)
        load = wrk([backend], requests, seconds=cycles * cycle, pause=pause)
        calls = hetzner.calls()
    reads = _told(calls)
    hourly = len(calls) * 3600 / (cycles * _CACHE_TTL)
    figure.add(f"{hosts} hosts in 25 zones, polling: calls an hour", hourly, 3600 / 3, reads)
    rate = hosts * _FASTER / _POLL
    figure.notes += [
        f"{hosts} hosts: measured for {cycles} times REQUEST_CACHE_TTL with a clock {_FASTER}",
        f"times as fast (REQUEST_CACHE_TTL={cycle:.0f}; {load.rate:.0f} of {rate:.0f} polls a",
        f"second were sent, {load.failed} failed),",
        "and extrapolated to the hour. The yardstick is a third of the quota; a tick of five",
        "seconds is twenty-five here, so that the true figure is up to 8 % above.",
    ]


def _send(backend: Backend, asked: Iterable[Request], word: str) -> None:
    for request in asked:
        answer = backend.session.get(
            backend.url + request.path, headers=dict(request.headers), timeout=20
        )
        assert answer.text.startswith(word), answer.text


def _told(calls: Iterable[Mapping[str, Any]]) -> str:
    kinds = Counter(f"{call['method']} {call['path'].rsplit('/', 1)[-1]}" for call in calls)
    return ", ".join(f"{number} × {kind}" for kind, number in sorted(kinds.items()))
