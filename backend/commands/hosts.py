"""The commands `hosts` and `history`: the hosts, and what has happened to them."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict
from typing import Mapping, Sequence

from backend.admin.actions import names_in
from backend.admin.status import RETURNS, HostStatus, describe, origin
from backend.admin.timeline import FAILURES
from backend.commands.context import (
    OPERATOR,
    Context,
    print_json,
    print_table,
    service_context,
    time_argument,
)
from backend.errors import FAIL, OK, BadHostname, HostNotAllowed
from backend.model import Hostname, OwnSettings, RecordType, shown
from backend.text import after, before, command, counted, duration, local

_TASKS = ("list", "add", "rename", "remove", "set", "retry", "drop", "mute", "unmute")
_DEFAULT = "default"
_MOST_ENTRIES = 1_000_000
_FEW_LINES = 20  # of the report about added hosts
_NO_NAME = (
    "Nothing was changed: there is no host name. With Docker, `-` needs `docker exec -i` or "
    "`docker compose exec -T`."
)


def hosts(parser: argparse.ArgumentParser) -> None:
    """Lists, adds, renames and removes hosts; changes their settings, retries or drops updates."""
    parser.set_defaults(run=run_hosts, tasks=_TASKS)
    tasks = parser.add_subparsers(dest="task", required=True, metavar="|".join(_TASKS))
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
        ("--lost-after", "silence until it is lost, as in 3d, instead of LOST_CONNECTION_TIMEOUT"),
        ("--ttl", "TTL of its records, in seconds, instead of RECORD_TTL"),
        ("--interface-id", "host part of its IPv6 address, instead of IPV6_INTERFACE_IDS"),
        (
            "--certificates",
            "`off`: its key gets no certificates, even with ACME_DNS=1; *.HOST has its own setting",
        ),
        ("--note", "a note about the host"),
    ):
        setting.add_argument(option, help=f"{words}; `{_DEFAULT}` removes this setting")
    for name, words in (
        ("retry", "retry the pending and refused updates of a host now"),
        ("drop", "drop the failed update of a host"),
        ("mute", "until a time, send no notification when a host is lost or back"),
        ("unmute", "send notifications about a host again"),
    ):
        task = tasks.add_parser(name, help=words)
        task.add_argument("host")
        if name == "mute":
            help_text = "a date, a time, or a duration from now, as in 3d"
            task.add_argument("until", type=time_argument(after), help=help_text)


def run_hosts(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Carry out the task; return 1 if hosts could not be added or renamed."""
    calls_hetzner = arguments.task in ("add", "rename")
    with service_context(environ, calls_hetzner=calls_hetzner) as context:
        if calls_hetzner:
            return _add_or_rename(context, arguments)
        if arguments.task != "list":
            print(_act(context, arguments))
        elif arguments.host:
            _show(context, arguments)
        else:
            _list(context, arguments)
    return 0


def _add_or_rename(context: Context, arguments: argparse.Namespace) -> int:
    if arguments.task == "rename":
        names = [arguments.name]
        lines = context.actions.rename(context.host(arguments.host), arguments.name, OPERATOR)
    else:
        texts = [sys.stdin.read() if text == "-" else text for text in arguments.names]
        names = [name for text in texts for name in names_in(text)]
        lines = context.actions.add(names, OPERATOR)
    rows = [
        (line.state, line.what, f"{line.found} {line.hint}".strip())
        for line in lines
        if line.state != OK or line.hint or len(lines) <= _FEW_LINES
    ]
    if rows:
        print_table(("STATE", "HOST", "FOUND"), rows)
    if not lines:
        print(_NO_NAME, file=sys.stderr)
        return 1
    if any(line.state == FAIL for line in lines):
        print("Nothing was changed: correct the failures, and try again.", file=sys.stderr)
        return 1
    if arguments.task == "rename":
        print(
            f"{arguments.host} was renamed to {names[0]}, and keeps its key. Change the name in "
            "its device. The old records are deleted when the new ones are published."
        )
        return 0
    number = len(set(map(Hostname.parse, names)))
    print(f"Added {counted(number, 'host')}. The service accepts new hosts within 5 seconds.")
    device = "its device" if number == 1 else "each device"
    print(f"Next, see what to enter into {device}: {command('setup', names[0])}")
    return 0


def _act(context: Context, arguments: argparse.Namespace) -> str:
    actions, host, task = context.actions, context.host(arguments.host), arguments.task
    if task == "remove":
        actions.remove(host, OPERATOR, delete_records=arguments.delete_records)
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
        updates, lost = counted(number, "failed update"), status.losses
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
    own = context.actions.change(host, texts, OPERATOR)
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


def _show(context: Context, arguments: argparse.Namespace) -> None:
    """Print the details of one host."""
    host = context.host(arguments.host)
    one, now = context.overview.host(host)
    is_fixed = host in context.registry.current.fixed
    if arguments.json:
        print_json(describe(one, is_fixed=is_fixed))
        return
    rows = [
        ("host", shown(one.host)),
        ("origin", origin(is_fixed=is_fixed)),
        ("state", one.condition.value),
        *((kind.value, str(one.published.get(kind, "-"))) for kind in RecordType),
        ("last seen", _last_seen(one, now)),
        ("problem", " ".join(filter(None, (one.error, one.hint)))),
        *_named(context.registry.current.own(one.host)),
    ]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        if value:
            print(f"{name:<{width}}  {value}")


def _list(context: Context, arguments: argparse.Namespace) -> None:
    found = list(context.overview.hosts())
    if arguments.json:
        fixed = context.registry.current.fixed
        print_json([describe(one, is_fixed=one.host in fixed) for one in found])
        return
    snapshot = context.overview.read()
    now = snapshot.now
    rows = []
    for one in found:
        retry = f"Next try in {duration(one.retry_at - now)}." if one.retry_at else ""
        rows.append(
            (
                shown(one.host),
                one.condition.value,
                "" if one.since is None else duration(now - one.since),
                *(str(one.published.get(kind, "-")) for kind in RecordType),
                _last_seen(one, now),
                " ".join(text for text in (one.error, one.hint, retry) if text),
            )
        )
    heads = ("HOST", "STATE", "FOR", "A", "AAAA", "LAST SEEN", "PROBLEM")
    print_table(heads, rows, snapshot.sentence, in_pages=True)
    if not rows:
        print("No host is registered: add one with `hosts add NAME`.", file=sys.stderr)


def _last_seen(one: HostStatus, now: float) -> str:
    return "never" if one.seen_at is None else f"{duration(now - one.seen_at)} ago"


def history(parser: argparse.ArgumentParser) -> None:
    """Shows the history: address changes, failures, lost hosts and the operator's actions."""
    parser.set_defaults(run=run_history)
    parser.add_argument("host", nargs="?", help="show only this host")
    parser.add_argument(
        "--since",
        type=time_argument(before),
        default=0.0,
        help="a date, a time, or a duration before now, as in 3d",
    )
    parser.add_argument(
        "--limit", type=_limit, default=_MOST_ENTRIES, help="show only the newest entries"
    )
    parser.add_argument("--json", action="store_true", help="print JSON; times in UTC seconds")


def _limit(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("write a whole number from 1 up")
    return min(int(text), _MOST_ENTRIES)


def run_history(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print the entries, the oldest first."""
    with service_context(environ) as context:
        host = context.host(arguments.host) if arguments.host else None
        stored = context.store.history
        entries = stored.find(host, since=arguments.since, limit=arguments.limit)[::-1]
        is_known = host is None or host in context.registry
        if not is_known and not stored.find(host, limit=1):
            raise HostNotAllowed(f"{host} isn't registered and has no history: check the name.")
    if arguments.json:
        print_json([asdict(entry) for entry in entries])
    else:
        heads = (
            f"TIME ({local(time.time(), '%Z')})",
            "HOST",
            "TYPE",
            "EVENT",
            "CHANGE",
            "BY",
            "WHY",
        )
        rows = []
        for one in entries:
            at = local(one.at, "%Y-%m-%d %H:%M:%S")
            change = ""
            if one.event in FAILURES:
                change = f"desired {one.new}" if one.new else ""
            elif one.old is not None or one.new is not None:
                change = f"{one.old or 'none'} -> {one.new or 'none'}"
            by = f"{one.protocol} {one.source}".strip()
            rows.append((at, shown(Hostname(one.host)), one.type, one.event, change, by, one.why))
        hosts = len({one.host for one in entries})
        summary = f"{counted(len(entries), 'entry', 'entries')} of {counted(hosts, 'host')}."
        print_table(heads, rows, summary, in_pages=True)
    return 0
