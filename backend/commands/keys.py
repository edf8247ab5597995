"""Lists the hosts that have a key; replaces a key, or shares it with another host."""

from __future__ import annotations

import argparse
from typing import Mapping

from backend.commands.context import OPERATOR, Context, print_table, service_context
from backend.model import Hostname
from backend.text import counted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a subcommand for each task."""
    tasks = parser.add_subparsers(dest="task", required=True, metavar="list|rotate|share")
    tasks.add_parser("list", help="show which hosts have a key; shows no key")
    rotate = tasks.add_parser("rotate", help="replace the key of a host, and show the new one once")
    rotate.add_argument("host", type=Hostname.parse)
    share = tasks.add_parser("share", help="give another host the key of a host")
    share.add_argument("host", type=Hostname.parse)
    share.add_argument("other", type=Hostname.parse, metavar="with")


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Carry out the task."""
    with service_context(environ) as context:
        if arguments.task == "list":
            _list(context)
        elif arguments.task == "rotate":
            key = context.actions.rotate(arguments.host, OPERATOR)
            print(f"{arguments.host} has a new key. The old key is no longer valid.\n{key}")
        else:
            has_replaced = context.actions.share(arguments.host, arguments.other, OPERATOR)
            old = " Its old key is no longer valid." if has_replaced else ""
            print(f"{arguments.other} now has the key of {arguments.host}.{old}")
    return 0


def _list(context: Context) -> None:
    keys = context.key_file.read()
    registered = context.settings.access.hosts
    rows = []
    for name in [*registered, *(other for other in keys if other not in registered)]:
        key = keys.get(name)
        shared = [other.text for other in keys if other != name and keys[other] == key]
        notes = [] if name in registered else ["not in REGISTERED_FQDNS"]
        if shared:
            notes.append("shared with " + ", ".join(shared))
        shown = "none yet" if key is None else counted(len(key), "character")
        rows.append((name.text, shown, "; ".join(notes)))
    print_table(("HOST", "KEY", ""), rows)
