"""Shows what happened: every change, failure and silence, and what the operator did."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from typing import Mapping, Tuple

from backend.commands.context import Workbench, tell_as_json, tell_as_table, workbench
from backend.errors import HostNotAllowed
from backend.model import Hostname
from backend.store.schema import Entry
from backend.text import before

_MOST = 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take of which host, from when on, and in which form."""
    parser.add_argument("host", nargs="?", type=Hostname.parse, help="only this host")
    parser.add_argument("--since", type=_since, default=0.0, help="a date, a time, or as in 3d")
    parser.add_argument("--limit", type=_limit, default=_MOST, help="only the newest so many")
    parser.add_argument("--json", action="store_true", help="for programs; times in UTC seconds")


def _since(text: str) -> float:
    try:
        return before(text, time.time())
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _limit(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("write a whole number from 1 up")
    return min(int(text), _MOST)


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Show it, the oldest first."""
    with workbench(environ) as bench:
        if arguments.host is not None:
            _check(bench, arguments.host)
        found = bench.store.history.find(
            arguments.host, since=arguments.since, limit=arguments.limit
        )
    entries = found[::-1]
    if arguments.json:
        tell_as_json([asdict(entry) for entry in entries])
    else:
        heads = ("TIME (UTC)", "HOST", "TYPE", "EVENT", "CHANGE", "BY", "WHY")
        tell_as_table(heads, [_row(entry) for entry in entries])
    return 0


def _check(bench: Workbench, host: Hostname) -> None:
    is_registered = host in bench.settings.access.hosts
    if not is_registered and not bench.store.history.find(host, limit=1):
        raise HostNotAllowed(
            f"{host} isn't registered, and nothing is known of it: check the name, or add it to "
            "REGISTERED_FQDNS."
        )


def _row(entry: Entry) -> Tuple[str, ...]:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(entry.at))
    changed = entry.old is not None or entry.new is not None
    change = f"{entry.old or 'none'} -> {entry.new or 'none'}" if changed else ""
    by = " ".join(part for part in (entry.protocol, entry.source) if part)
    return (at, entry.host, entry.type, entry.event, change, by, entry.why)
