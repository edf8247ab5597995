"""Benchmarks 1 and 6: unchanged updates a second, with SQLite and PostgreSQL."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path
from typing import Iterator, Sequence

from bench.parts import (
    Backend,
    Fleet,
    Hetzner,
    Load,
    Plain,
    Request,
    Served,
    nic_update,
    running,
    update,
    wrk,
)
from bench.report import Figure, Scale, median
from tests.e2e.postgres import PostgreSQL

_HEADS = ("", "requests/s", "p50 ms", "p99 ms", "CPU µs", "failed")
_HOSTS = 100


def beside_flask(folder: Path, scale: Scale) -> Figure:
    baselines = ("one line", "original")
    figure = Figure(
        "unchanged",
        "1. Unchanged updates, compared with a one-line Flask app with the same gunicorn settings,"
        " and with the original system",
        _heads(baselines),
        notes=[
            "Targets: CPU of one line at most 1.0; rate of original at least 1.5. The ratios are",
            "medians of pairs. That of the CPU time is reliable on a busy machine, too.",
        ],
    )
    fleet = Fleet(_HOSTS)
    with contextlib.ExitStack() as stack:
        hetzner = stack.enter_context(running(Hetzner(folder / "hetzner", fleet)))
        ours = stack.enter_context(running(Backend(folder / "ours", fleet, hetzner.api_url)))
        plain = stack.enter_context(running(Plain(folder / "plain")))
        keys = str(folder / "ours" / "pre-shared-key")
        original = stack.enter_context(running(Plain(folder / "original", "original", keys)))
        programs = {"ours": ours, "one line": plain, "original": original}
        hetzner.clear_calls()
        for protocol, make in (("/nic/update", nic_update), ("/update", update)):
            requests = [make(fleet, index) for index in range(_HOSTS)]
            for fresh in (False, True):
                way = "new connections" if fresh else "keep-alive"
                loads = _in_turn(programs, requests, scale, fresh=fresh)
                _add_rows(figure, f"{protocol}, {way}", loads, baselines)
        figure.notes.append(f"Calls to Hetzner: {len(hetzner.calls())}.")
    return figure


def _heads(baselines: Sequence[str]) -> Sequence[str]:
    ratios = ((f"rate of {one}", f"CPU of {one}") for one in baselines)
    return [*_HEADS, *itertools.chain.from_iterable(ratios)]


def _in_turn(
    programs: dict[str, Served], requests: Sequence[Request], scale: Scale, *, fresh: bool
) -> dict[str, list[Load]]:
    """Measure the programs alternately, since the load of the machine changes."""
    found: dict[str, list[Load]] = {name: [] for name in programs}
    for number in range(scale.number(7, 3) + 1):
        for name, program in programs.items():
            load = wrk([program], requests, seconds=scale(5, 2), fresh=fresh)
            if number:  # the first round is a warm-up
                found[name].append(load)
    return found


def _add_rows(
    figure: Figure, what: str, loads: dict[str, list[Load]], baselines: Sequence[str]
) -> None:
    for name, some in loads.items():
        ratios = []
        for baseline in baselines:
            pairs = list(zip(some, loads[baseline]))
            ratios.append(median(one.rate / other.rate for one, other in pairs))
            ratios.append(median(one.work / other.work for one, other in pairs))
        figure.add(
            f"{what}: {name}",
            median(one.rate for one in some),
            median(one.p50 for one in some),
            median(one.p99 for one in some),
            median(one.work for one in some),
            sum(one.failed for one in some),
            *ratios,
        )


def on_postgresql(folder: Path, scale: Scale) -> Figure:
    figure = Figure(
        "postgresql",
        "6. Unchanged updates on PostgreSQL with two replicas, compared with SQLite",
        _heads(["SQLite"]),
        notes=["All programs and the database run on this machine."],
    )
    fleet = Fleet(_HOSTS)
    requests = [nic_update(fleet, index) for index in range(_HOSTS)]
    with contextlib.ExitStack() as stack:
        hetzner = stack.enter_context(running(Hetzner(folder / "hetzner", fleet)))
        url = stack.enter_context(_database())
        sqlite = stack.enter_context(running(Backend(folder / "sqlite", fleet, hetzner.api_url)))
        replicas = [
            stack.enter_context(
                running(
                    Backend(
                        *(folder / f"replica{number}", fleet, hetzner.api_url),
                        filled=not number,
                        STATE_URL=url,
                    )
                )
            )
            for number in range(2)
        ]
        found: dict[str, list[Load]] = {"SQLite": [], "one replica": [], "both at once": []}
        for number in range(scale.number(7, 3) + 1):
            for name, programs in zip(found, ([sqlite], replicas[:1], replicas)):
                load = wrk(programs, requests, seconds=scale(5, 2))
                if number:
                    found[name].append(load)
        _add_rows(figure, "keep-alive", found, ["SQLite"])
    return figure


@contextlib.contextmanager
def _database() -> Iterator[str]:
    server = PostgreSQL()
    try:
        server.create()
        server.start()
        yield server.new_database()
    finally:
        server.destroy()
