"""Lists the hosts that have a key; replaces a key, or shares it with another host."""

from __future__ import annotations

import argparse
from typing import Mapping

from backend.commands.context import (
    OPERATOR,
    Context,
    print_json,
    print_table,
    service_context,
)
from backend.model import Hostname, shown
from backend.text import counted

TASKS = ("list", "rotate", "share")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a subcommand for each task."""
    tasks = parser.add_subparsers(dest="task", required=True, metavar="|".join(TASKS))
    listing = tasks.add_parser("list", help="show which hosts have a key, without the keys")
    listing.add_argument("--json", action="store_true", help="print JSON; shows no key")
    rotate = tasks.add_parser("rotate", help="replace the key of a host, and show the new one once")
    rotate.add_argument("host")
    share = tasks.add_parser("share", help="give another host the key of a host")
    share.add_argument("host")
    share.add_argument("other", metavar="with")


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Carry out the task."""
    with service_context(environ) as context:
        if arguments.task == "list":
            _list(context, as_json=arguments.json)
            return 0
        host = context.host(arguments.host)
        if arguments.task == "rotate":
            key = context.actions.rotate(host, OPERATOR)
            print(f"{host} has a new key. The old key is no longer valid.\n{key}")
        else:
            other = context.host(arguments.other)
            has_replaced = context.actions.share(host, other, OPERATOR)
            old = " Its old key is no longer valid." if has_replaced else ""
            print(f"{other} now has the key of {host}.{old}")
    return 0


def _list(context: Context, *, as_json: bool) -> None:
    keys, registered = context.keys.read(), context.registry
    names = [*registered, *(other for other in keys if other not in registered)]
    found = [
        {
            "host": name.text,
            "registered": name in registered,
            "characters": len(keys.get(name, "")),
            "shared_with": [
                other.text for other in keys if other != name and keys[other] == keys.get(name)
            ],
        }
        for name in names
    ]
    if as_json:
        print_json(found)
        return
    rows = []
    for one in found:
        notes = [] if one["registered"] else ["not registered"]
        notes += [f"shared with {', '.join(one['shared_with'])}"] if one["shared_with"] else []
        key = counted(one["characters"], "character") if one["characters"] else "none yet"
        rows.append((shown(Hostname(one["host"])), key, "; ".join(notes)))
    print_table(("HOST", "KEY", ""), rows)
