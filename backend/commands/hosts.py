"""Shows how the hosts fare, and does something about one."""

from __future__ import annotations

import argparse
import time
from typing import Any, Dict, Mapping, Optional

from backend.admin.status import HostStatus, Snapshot
from backend.commands.context import OPERATOR, Workbench, tell_as_json, tell_as_table, workbench
from backend.model import Hostname, RecordType
from backend.text import after, duration, moment


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take what to do."""
    tasks = parser.add_subparsers(dest="task", required=True, metavar="list|retry|drop|mute|unmute")
    listing = tasks.add_parser("list", help="show how every host fares, the worst first")
    listing.add_argument("--json", action="store_true", help="for programs; times in UTC seconds")
    for name, words in (
        ("retry", "try a host's waiting updates again now"),
        ("drop", "drop the update of a host that failed, and its error"),
        ("mute", "push nothing of a host being lost for a while"),
        ("unmute", "end that"),
    ):
        task = tasks.add_parser(name, help=words)
        task.add_argument("host", type=Hostname.parse)
        if name == "mute":
            task.add_argument("until", type=_until, help="a date, a time, or as in 3d")


def _until(text: str) -> float:
    try:
        return after(text, time.time())
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Do it."""
    with workbench(environ) as bench:
        if arguments.task == "list":
            _list(bench.overview.read(), as_json=arguments.json)
        else:
            print(_act(bench, arguments.task, arguments.host, getattr(arguments, "until", None)))
    return 0


def _act(bench: Workbench, task: str, name: Hostname, until: Optional[float]) -> str:
    if task == "retry":
        number = bench.actions.retry(name, OPERATOR)
        return f"{name}: to be tried now: {number}." if number else f"{name} waits for nothing."
    if task == "drop":
        number = bench.actions.drop_update(name, OPERATOR)
        return f"{name}: errors forgotten: {number}." if number else f"{name} has no error."
    bench.actions.mute(name, until, OPERATOR)
    return f"{name} is not muted." if until is None else f"{name} is muted until {moment(until)}."


def _list(snapshot: Snapshot, *, as_json: bool) -> None:
    if as_json:
        tell_as_json([_object(one) for one in snapshot.hosts])
        return
    rows = [
        (
            one.host.text,
            one.condition.value,
            _since(one, snapshot.now),
            *(_address(one, kind) for kind in RecordType),
            _ago(one.seen_at, snapshot.now),
            f"{one.error} {one.hint}".strip(),
        )
        for one in snapshot.hosts
    ]
    tell_as_table(("HOST", "STATE", "SINCE", "A", "AAAA", "LAST SEEN", "WHAT TO DO"), rows)


def _object(one: HostStatus) -> Dict[str, Any]:
    return {
        "host": one.host.text,
        "state": one.condition.value,
        "since": one.since,
        "published": {kind.value: str(address) for kind, address in one.published.items()},
        "seen_at": one.seen_at,
        "changed_at": one.changed_at,
        "error": one.error,
        "hint": one.hint,
        "muted_until": one.muted_until,
    }


def _since(one: HostStatus, now: float) -> str:
    return "" if one.since is None else duration(now - one.since)


def _address(one: HostStatus, kind: RecordType) -> str:
    return str(one.published.get(kind, "-"))


def _ago(at: Optional[float], now: float) -> str:
    return "never" if at is None else f"{duration(now - at)} ago"
