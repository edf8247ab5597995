"""Code that the commands share: the settings, the store and the actions; tables and JSON."""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import json
import os
import pydoc
import shutil
import sys
import textwrap
import time
from dataclasses import dataclass
from typing import Callable, Iterator, Mapping, Sequence

from backend import __version__
from backend.admin.actions import Actions
from backend.admin.checks import inspect
from backend.admin.status import Overview
from backend.auth.registry import Keys, Registry, open_keys
from backend.errors import BadHostname
from backend.hetzner.zones import Zones, open_projects
from backend.model import Hostname, Requester
from backend.notify.reporter import Reporter
from backend.settings import Settings, read
from backend.store import Store, opened

OPERATOR = Requester("", "command")
AGENT = f"hetzner-dyndns/{__version__} command"


_NARROWEST = 24  # characters of a column of a table that doesn't fit
_RED, _GREEN, _YELLOW, _BLUE = "31", "32", "33", "34"
# The colours of states, and of events in the history.
_COLOURS: Mapping[str, str] = {
    **dict.fromkeys(("fail", "refused", "silent", "lost"), _RED),
    **dict.fromkeys(("ok", "back"), _GREEN),
    **dict.fromkeys(("warn", "never seen", "waiting for Hetzner", "postponed"), _YELLOW),
    "publishing": _BLUE,
}


@dataclass(frozen=True)
class Context:
    """The parts of the service that a command needs."""

    settings: Settings
    store: Store
    keys: Keys
    registry: Registry
    actions: Actions
    overview: Overview

    def host(self, text: str) -> Hostname:
        """Return the host of a full name, or of a first label that only one host has.

        Raises:
            BadHostname: it is neither.

        """
        found = self.registry.current.named(text)
        if len(found) > 1:
            names = ", ".join(map(str, found))
            raise BadHostname(f"{text} is the first label of several hosts: name one of {names}.")
        return found[0] if found else Hostname.parse(text)


@contextlib.contextmanager
def service_context(
    environ: Mapping[str, str], *, calls_hetzner: bool = False
) -> Iterator[Context]:
    """Open the store and the keys of the service.

    Raises:
        OperatorError: the set-up is wrong, or the service has never been started.

    """
    settings, _ = read(environ, needs_token=calls_hetzner)
    with opened(settings.store.url) as store:
        keys, reporter = open_keys(settings, store.registrations), Reporter()
        hosts = Registry(settings.access, store.hosts, store.registrations, keys)
        zones = Zones(open_projects(settings, AGENT), settings.hetzner.zone_cache_ttl)
        yield Context(
            settings,
            store,
            keys,
            hosts,
            Actions(store, hosts, keys, reporter, functools.partial(inspect, zones)),
            Overview(store, hosts, settings.watch.lost_after),
        )


def time_argument(read_time: Callable[[str, float], float]) -> Callable[[str], float]:
    """Return a type for argparse that reads a time by `text.before` or `text.after`."""

    def convert(text: str) -> float:
        try:
            return read_time(text, time.time())
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def print_json(found: object) -> None:
    json.dump(found, sys.stdout, ensure_ascii=False, indent=2)
    sys.stdout.write("\n")


def print_table(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    summary: str = "",
    *,
    in_pages: bool = False,
) -> None:
    """Print a table with a header and aligned columns. Control characters become spaces.

    On a terminal the table fits its width, states have colours, and `summary` is the last line;
    with `in_pages`, a pager shows what is longer than the screen.
    """
    cells = [
        ["".join(c if c.isprintable() else " " for c in cell) for cell in row]
        for row in (heads, *rows)
    ]
    widths = [max(map(len, column)) for column in zip(*cells)]
    if not sys.stdout.isatty():
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        return
    columns, height = shutil.get_terminal_size()
    room = columns - 2 * (len(widths) - 1)
    if sum(min(width, _NARROWEST) for width in widths) <= room:
        while sum(widths) > room:
            widths[widths.index(max(widths))] -= 1
        lines = [line for row in cells for line in _aligned(row, widths)]
    else:  # one line for each cell
        width = max(map(len, heads))
        rest = max(_NARROWEST, columns - width - 2)
        lines = []
        for row in cells[1:]:
            for head, cell in zip(heads, row):
                lines += _aligned((head, cell), (width, rest)) if cell else ()
            lines.append("")
    lines += ["", *textwrap.wrap(summary, columns)] if summary else []
    if in_pages and len(lines) >= height:
        os.environ.setdefault("LESS", "FRX")  # with colours
        pydoc.pager("\n".join(lines))
    else:
        sys.stdout.write("".join(f"{line}\n" for line in lines))


def _aligned(row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    """Yield a row as lines: a cell that is too wide continues below itself."""
    cells = [textwrap.wrap(cell, max(1, width)) for cell, width in zip(row, widths)]
    for parts in itertools.zip_longest(*cells, fillvalue=""):
        padded = (_coloured(part) + " " * (width - len(part)) for part, width in zip(parts, widths))
        yield "  ".join(padded).rstrip()


def _coloured(cell: str) -> str:
    """Return a state in its colour, unless NO_COLOR is set (https://no-color.org)."""
    colour = _COLOURS.get(cell)
    has_colours = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return f"\033[{colour}m{cell}\033[0m" if colour and has_colours else cell
