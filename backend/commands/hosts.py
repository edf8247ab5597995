"""Lists the hosts with their states; retries or drops updates of a host, or mutes it."""

from __future__ import annotations

import argparse
from typing import Mapping

from backend.admin.status import HostStatus, Snapshot
from backend.commands.context import (
    OPERATOR,
    Context,
    print_json,
    print_table,
    service_context,
    time_argument,
)
from backend.model import Hostname, RecordType
from backend.text import after, counted, duration, moment


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a subcommand for each task."""
    tasks = parser.add_subparsers(dest="task", required=True, metavar="list|retry|drop|mute|unmute")
    listing = tasks.add_parser("list", help="show every host with its state, the worst first")
    listing.add_argument("--json", action="store_true", help="print JSON; times in UTC seconds")
    for name, words in (
        ("retry", "retry the pending and refused updates of a host now"),
        ("drop", "drop the failed update of a host"),
        ("mute", "send no notification when a host is lost, until a time"),
        ("unmute", "send notifications about a host again"),
    ):
        task = tasks.add_parser(name, help=words)
        task.add_argument("host", type=Hostname.parse)
        if name == "mute":
            help_text = "a date, a time (UTC), or a duration from now, as in 3d"
            task.add_argument("until", type=time_argument(after), help=help_text)


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Carry out the task."""
    with service_context(environ) as context:
        if arguments.task != "list":
            print(_act(context, arguments))
        elif arguments.json:
            print_json([_object(one) for one in context.overview.read().hosts])
        else:
            _print_list(context.overview.read())
    return 0


def _act(context: Context, arguments: argparse.Namespace) -> str:
    actions, host = context.actions, arguments.host
    if arguments.task == "retry":
        number = actions.retry(host, OPERATOR)
        updates = counted(number, "pending update")
        return f"{host}: retrying {updates}." if number else f"{host} has no pending update."
    if arguments.task == "drop":
        number = actions.drop_update(host, OPERATOR)
        updates = counted(number, "failed update")
        return f"{host}: dropped {updates}." if number else f"{host} has no failed update."
    until = arguments.until if arguments.task == "mute" else None
    actions.mute(host, until, OPERATOR)
    return f"{host} is not muted." if until is None else f"{host} is muted until {moment(until)}."


def _print_list(snapshot: Snapshot) -> None:
    now = snapshot.now
    rows = []
    for one in snapshot.hosts:
        retry = f"Next try in {duration(one.retry_at - now)}." if one.retry_at else ""
        rows.append(
            (
                one.host.text,
                one.condition.value,
                "" if one.since is None else duration(now - one.since),
                *(str(one.published.get(kind, "-")) for kind in RecordType),
                "never" if one.seen_at is None else f"{duration(now - one.seen_at)} ago",
                " ".join(text for text in (one.error, one.hint, retry) if text),
            )
        )
    print_table(("HOST", "STATE", "FOR", "A", "AAAA", "LAST SEEN", "PROBLEM"), rows)


def _object(one: HostStatus) -> Mapping[str, object]:
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
