"""Shows the history: address changes, failures, lost hosts and the operator's actions."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from typing import Mapping

from backend.admin.timeline import FAILURES
from backend.commands.context import print_json, print_table, service_context, time_argument
from backend.errors import HostNotAllowed
from backend.model import Hostname, shown
from backend.text import before, counted, local

_MOST = 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the host, the period and the format."""
    parser.add_argument("host", nargs="?", help="show only this host")
    parser.add_argument(
        "--since",
        type=time_argument(before),
        default=0.0,
        help="a date, a time, or a duration before now, as in 3d",
    )
    parser.add_argument("--limit", type=_limit, default=_MOST, help="show only the newest entries")
    parser.add_argument("--json", action="store_true", help="print JSON; times in UTC seconds")


def _limit(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("write a whole number from 1 up")
    return min(int(text), _MOST)


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print the entries, the oldest first."""
    with service_context(environ) as context:
        host = context.host(arguments.host) if arguments.host else None
        history = context.store.history
        entries = history.find(host, since=arguments.since, limit=arguments.limit)[::-1]
        is_known = host is None or host in context.registry
        if not is_known and not history.find(host, limit=1):
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
