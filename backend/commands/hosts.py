"""Lists, adds, renames and removes hosts; changes their settings, retries or drops updates."""

from __future__ import annotations

import argparse
import sys
from typing import Mapping, Sequence

from backend.admin.hosts import names_in
from backend.admin.status import RETURNS, HostStatus, Snapshot, describe, origin
from backend.commands.context import (
    OPERATOR,
    Context,
    print_json,
    print_table,
    service_context,
    time_argument,
)
from backend.errors import FAIL, OK, BadHostname, Line, not_registered
from backend.model import OwnSettings, RecordType, shown
from backend.text import after, command, counted, duration, local

TASKS = ("list", "add", "rename", "remove", "set", "retry", "drop", "mute", "unmute")

_DEFAULT = "default"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a subcommand for each task."""
    tasks = parser.add_subparsers(dest="task", required=True, metavar="|".join(TASKS))
    listing = tasks.add_parser("list", help="show every host, the worst first; or one host")
    listing.add_argument("host", nargs="?", help="show only this host, in detail")
    listing.add_argument("--json", action="store_true", help="print JSON; times in UTC seconds")
    adding = tasks.add_parser("add", help="add hosts, all of them or none")
    adding.add_argument(
        "names",
        nargs="+",
        metavar="NAME",
        help="a full name; `-` reads names from standard input",
    )
    renaming = tasks.add_parser("rename", help="rename a host; its key and history stay")
    renaming.add_argument("host", metavar="OLD")
    renaming.add_argument("name", metavar="NEW")
    removing = tasks.add_parser("remove", help="remove a host; its key is invalid at once")
    removing.add_argument("host")
    choice = removing.add_mutually_exclusive_group(required=True)
    choice.add_argument(
        "--delete-records", action="store_true", help="delete its records at Hetzner"
    )
    choice.add_argument("--keep-records", action="store_true", help="keep its records at Hetzner")
    setting = tasks.add_parser("set", help="change settings of one host")
    setting.add_argument("host")
    for option, words in (
        ("--lost-after", "silence after which it is lost, as in 3d; else LOST_CONNECTION_TIMEOUT"),
        ("--ttl", "TTL of its records, in seconds; else RECORD_TTL"),
        ("--interface-id", "host part of its IPv6 address; else IPV6_INTERFACE_IDS"),
        (
            "--certificates",
            "`off`: its key gets none, even with ACME_DNS=1; *.HOST has its own setting",
        ),
        ("--note", "a note about it, for people"),
    ):
        setting.add_argument(option, help=f"{words}; `{_DEFAULT}` removes this setting")
    for name, words in (
        ("retry", "retry the pending and refused updates of a host now"),
        ("drop", "drop the failed update of a host"),
        ("mute", "send no notification when a host is lost, until a time"),
        ("unmute", "send notifications about a host again"),
    ):
        task = tasks.add_parser(name, help=words)
        task.add_argument("host")
        if name == "mute":
            help_text = "a date, a time, or a duration from now, as in 3d"
            task.add_argument("until", type=time_argument(after), help=help_text)


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Carry out the task; return 1 if hosts could not be added or renamed."""
    calls_hetzner = arguments.task in ("add", "rename")
    with service_context(environ, calls_hetzner=calls_hetzner) as context:
        if arguments.task == "list":
            _list(context, arguments)
        elif calls_hetzner:
            return _add_or_rename(context, arguments)
        else:
            print(_act(context, arguments))
    return 0


def _add_or_rename(context: Context, arguments: argparse.Namespace) -> int:
    manager, name = context.manager, getattr(arguments, "name", "")
    if arguments.task == "rename":
        names = [name]
        lines = manager.rename(context.host(arguments.host), name, OPERATOR)
    else:
        names = [name for one in arguments.names for name in names_in(_text(one))]
        lines = manager.add(names, OPERATOR)
    _print_findings(lines)
    if any(line.state == FAIL for line in lines) or not lines:
        print("Nothing was changed: correct the failures, and try again.", file=sys.stderr)
        return 1
    if arguments.task == "rename":
        print(
            f"{arguments.host} is {name} now; its key is the same. Change the name in its device. "
            "The old records are deleted when the new ones are published."
        )
        return 0
    print(f"Added {counted(len(set(names)), 'host')}. The service knows within 5 seconds.")
    device = "its device" if len(set(names)) == 1 else "each device"
    print(f"Next, see what to enter into {device}: {command('setup', names[0])}")
    return 0


def _text(argument: str) -> str:
    return sys.stdin.read() if argument == "-" else argument


def _print_findings(lines: Sequence[Line]) -> None:
    """Print failures and warnings; if there are only few lines, print all of them."""
    few = 20
    printed = [line for line in lines if line.state != OK or len(lines) <= few]
    rows = [(line.state, line.what, f"{line.found} {line.hint}".strip()) for line in printed]
    if rows:
        print_table(("STATE", "HOST", "FOUND"), rows)


def _act(context: Context, arguments: argparse.Namespace) -> str:
    actions, host, task = context.actions, context.host(arguments.host), arguments.task
    if task == "remove":
        context.manager.remove(host, OPERATOR, delete_records=arguments.delete_records)
        rest = "are being deleted" if arguments.delete_records else "stay at Hetzner"
        return f"{host} is removed, and its key is invalid. Its records {rest}."
    if task == "set":
        return _set(context, arguments)
    if task == "retry":
        number = actions.retry(host, OPERATOR)
        updates = counted(number, "pending update")
        return f"{host}: retrying {updates}." if number else f"{host} has no pending update."
    if task == "drop":
        status, _ = context.overview.host(host)
        number = actions.drop_update(host, OPERATOR)
        updates, lost = counted(number, "failed update"), status.losses if status else ()
        told = "\n".join([f"{host}: dropped {updates}.", *lost, RETURNS])
        return told if number else f"{host} has no update that Hetzner refuses."
    until = arguments.until if task == "mute" else None
    actions.mute(host, until, OPERATOR)
    return f"{host} is not muted." if until is None else f"{host} is muted until {local(until)}."


def _set(context: Context, arguments: argparse.Namespace) -> str:
    names = ("lost_after", "ttl", "interface_id", "certificates", "note")
    given = {name: getattr(arguments, name) for name in names}
    texts = {
        name: "" if text == _DEFAULT else text for name, text in given.items() if text is not None
    }
    if not texts:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in names)
        raise BadHostname(f"Nothing to set: give one of {options}.")
    host = context.host(arguments.host)
    own = context.manager.change(host, texts, OPERATOR)
    shown = ", ".join(f"{name}: {value}" for name, value in _named(own) if value)
    return f"Settings of {host}: {shown or 'none of its own; the variables apply'}."


def _named(own: OwnSettings) -> Sequence[tuple[str, str]]:
    """Return the settings of a host with their names; an empty value means that there is none."""
    return (
        ("lost after", "" if own.lost_after is None else duration(own.lost_after)),
        ("TTL", "" if own.ttl is None else f"{own.ttl} s"),
        ("host part", str(own.interface_id or "")),
        ("certificates", {None: "", True: "on", False: "off"}[own.certificates]),
        ("note", own.note),
    )


def _list(context: Context, arguments: argparse.Namespace) -> None:
    if arguments.host:
        host = context.host(arguments.host)
        status, now = context.overview.host(host)
        if status is None:
            raise not_registered(host)
        if arguments.json:
            print_json(describe(status, is_fixed=_is_fixed(context, status)))
        else:
            _print_one(context, status, now)
    else:
        hosts = list(context.overview.details(context.overview.lines()))
        if arguments.json:
            print_json([describe(one, is_fixed=_is_fixed(context, one)) for one in hosts])
        else:
            _print_list(context.overview.read(), hosts)


def _print_list(snapshot: Snapshot, hosts: Sequence[HostStatus]) -> None:
    now = snapshot.now
    rows = []
    for one in hosts:
        retry = f"Next try in {duration(one.retry_at - now)}." if one.retry_at else ""
        rows.append(
            (
                shown(one.host),
                one.condition.value,
                "" if one.since is None else duration(now - one.since),
                *(str(one.published.get(kind, "-")) for kind in RecordType),
                "never" if one.seen_at is None else f"{duration(now - one.seen_at)} ago",
                " ".join(text for text in (one.error, one.hint, retry) if text),
            )
        )
    print_table(
        ("HOST", "STATE", "FOR", "A", "AAAA", "LAST SEEN", "PROBLEM"), rows, snapshot.sentence
    )
    if not rows:
        print("No host is registered: add one with `hosts add NAME`.", file=sys.stderr)


def _print_one(context: Context, one: HostStatus, now: float) -> None:
    seen = "never" if one.seen_at is None else f"{duration(now - one.seen_at)} ago"
    rows = [
        ("host", shown(one.host)),
        ("origin", origin(is_fixed=_is_fixed(context, one))),
        ("state", one.condition.value),
        *((kind.value, str(one.published.get(kind, "-"))) for kind in RecordType),
        ("last seen", seen),
        ("problem", " ".join(filter(None, (one.error, one.hint)))),
        *_named(context.registry.current.own(one.host)),
    ]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        if value:
            print(f"{name:<{width}}  {value}")


def _is_fixed(context: Context, one: HostStatus) -> bool:
    return one.host in context.registry.current.fixed
