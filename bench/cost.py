"""Benchmark 3: the number of calls to Hetzner, counted by the sandbox."""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, Iterable, Mapping, Sequence

from bench.parts import Backend, Fleet, Hetzner, Request, nic_update, running, wrk
from bench.report import Figure, Scale

_HOSTS = 100
_CHANGES = 20
_CACHE_TTL = 300  # the default of REQUEST_CACHE_TTL
_POLL = 60


def counted(folder: Path, scale: Scale) -> Figure:
    figure = Figure(
        "cost",
        "3. Calls to Hetzner",
        ("", "calls", "baseline", "which calls"),
    )
    _small(folder / "small", figure)
    _large(folder / "large", figure, scale)
    return figure


def _small(folder: Path, figure: Figure) -> None:
    fleet = Fleet(_HOSTS)
    with contextlib.ExitStack() as stack:
        hetzner = stack.enter_context(running(Hetzner(folder / "hetzner", fleet)))
        backend = stack.enter_context(
            running(Backend(folder / "ours", fleet, hetzner.api_url, checked_before=3600))
        )
        backend.verify()
        hetzner.clear_calls()
        for _ in range(5):
            _send(backend, (nic_update(fleet, index) for index in range(_HOSTS)), "nochg")
        figure.add(f"{5 * _HOSTS} unchanged updates", len(hetzner.calls()), 0, "")
        hetzner.clear_calls()
        _send(backend, (nic_update(fleet, index, 1) for index in range(_CHANGES)), "good")
        backend.wait_until(
            lambda: not backend.count("state <> 'published'"), "all records to be published"
        )
        kinds = _summary(hetzner.calls())
        figure.add(f"{_CHANGES} usual changes", len(hetzner.calls()), _CHANGES, kinds)


def _large(folder: Path, figure: Figure, scale: Scale) -> None:
    fleet = Fleet(scale.number(10_000, 1_000), 25)
    hosts = len(fleet.hosts)
    rounds = scale.number(2, 1)
    with contextlib.ExitStack() as stack:
        hetzner = stack.enter_context(running(Hetzner(folder / "hetzner", fleet)))
        # As after changes at different times: each record was verified at another time.
        backend = stack.enter_context(
            running(Backend(folder / "ours", fleet, hetzner.api_url, checked_over=_CACHE_TTL))
        )
        requests = [nic_update(fleet, index) for index in range(hosts)]
        pause = round(16 * _POLL / hosts * 1000)  # for each of 16 connections
        seconds = rounds * (_CACHE_TTL + 10) + 10
        load = wrk([backend], requests, seconds=seconds, pause=pause)
        calls = hetzner.calls()
    hourly, others = _hourly(calls)
    figure.add(
        f"{hosts} hosts in 25 zones, polling: calls an hour", hourly, 3600 / 3, _summary(calls)
    )
    figure.notes += [
        f"{hosts} hosts sent updates for {seconds} s ({load.rate:.0f} of {hosts / _POLL:.0f}",
        f"a second, {load.failed} failed). Calls of each zone are counted from the start of one",
        f"verification to the start of a later one, and extrapolated. {others} other calls, made",
        "once a day, are not included. The baseline is a third of the quota.",
    ]


def _hourly(calls: Sequence[Mapping[str, Any]]) -> tuple[float, int]:
    """Return the calls an hour that read zones, and the number of other calls."""
    by_zone: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    others = 0
    for call in calls:
        if call["path"].endswith("/rrsets"):
            by_zone[call["path"]].append(call)
        else:
            others += 1
    return sum(_rate(of_zone) for of_zone in by_zone.values()) * 3600, others


def _rate(calls: Sequence[Mapping[str, Any]]) -> float:
    """Return the calls a second between the starts of the first and the last verification."""
    starts = [index for index, call in enumerate(calls) if "page=1&" in f"{call['query']}&"]
    span = calls[starts[-1]]["started"] - calls[starts[0]]["started"]
    return (starts[-1] - starts[0]) / span


def _send(backend: Backend, asked: Iterable[Request], word: str) -> None:
    for request in asked:
        answer = backend.session.get(
            backend.url + request.path, headers=dict(request.headers), timeout=20
        )
        assert answer.text.startswith(word), answer.text


def _summary(calls: Iterable[Mapping[str, Any]]) -> str:
    kinds = Counter(f"{call['method']} {call['path'].rsplit('/', 1)[-1]}" for call in calls)
    return ", ".join(f"{number} × {kind}" for kind, number in sorted(kinds.items()))
