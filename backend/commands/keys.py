"""Shows which hosts have a key, gives one a new key, or lets two share one."""

from __future__ import annotations

import argparse
from typing import Mapping

from backend.commands.context import OPERATOR, Workbench, tell_as_table, workbench
from backend.model import Hostname
from backend.text import counted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take what to do."""
    tasks = parser.add_subparsers(dest="task", required=True, metavar="list|rotate|share")
    tasks.add_parser("list", help="show which hosts have a key, but none of the keys")
    rotate = tasks.add_parser("rotate", help="give a host a new key and show it once")
    rotate.add_argument("host", type=Hostname.parse)
    share = tasks.add_parser("share", help="give another host the key that a host has")
    share.add_argument("host", type=Hostname.parse)
    share.add_argument("other", type=Hostname.parse, metavar="with")


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Do it."""
    with workbench(environ) as bench:
        if arguments.task == "list":
            _list(bench)
        elif arguments.task == "rotate":
            key = bench.actions.rotate(arguments.host, OPERATOR)
            print(f"{arguments.host} has a new key; the old one opens nothing any more:\n{key}")
        else:
            had_another = bench.actions.share(arguments.host, arguments.other, OPERATOR)
            old = "; its old one opens nothing any more" if had_another else ""
            print(f"{arguments.other} has the key of {arguments.host} now{old}.")
    return 0


def _list(bench: Workbench) -> None:
    keys = bench.key_file.read()
    registered = bench.settings.access.hosts
    rows = []
    for name in [*registered, *(other for other in keys if other not in registered)]:
        key = keys.get(name)
        shared = [other.text for other in keys if other != name and keys[other] == key]
        notes = [] if name in registered else ["not in REGISTERED_FQDNS"]
        if key is not None and shared:
            notes.append("shared with " + ", ".join(shared))
        shown = "none yet" if key is None else counted(len(key), "character")
        rows.append((name.text, shown, "; ".join(notes)))
    tell_as_table(("HOST", "KEY", ""), rows)
