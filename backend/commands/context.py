"""Code that the commands share: the settings, the store and the actions; tables and JSON."""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import sys
import time
from dataclasses import dataclass
from typing import Callable, Iterator, Mapping, Sequence

from backend import __version__
from backend.admin.actions import Actions
from backend.admin.checks import inspect
from backend.admin.hosts import HostManager
from backend.admin.status import Overview
from backend.auth.registry import Keys, Registry, open_keys
from backend.errors import BadHostname
from backend.hetzner.dns import open_projects
from backend.hetzner.zones import Zones
from backend.model import Hostname, Requester
from backend.notify.outbox import Reporter
from backend.settings import Settings, read
from backend.store import Store, opened

OPERATOR = Requester("", "command")
AGENT = f"hetzner-dyndns/{__version__} command"


@dataclass(frozen=True)
class Context:
    """The parts of the service that a command needs."""

    settings: Settings
    store: Store
    keys: Keys
    registry: Registry
    manager: HostManager
    actions: Actions
    overview: Overview

    def host(self, text: str) -> Hostname:
        """Return the host of a full name, or of a first label that only one host has.

        Raises:
            BadHostname: it is neither.

        """
        found = self.registry.current.of_user(text.strip().lower())
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
            HostManager(store, hosts, keys, functools.partial(inspect, zones), reporter),
            Actions(store, hosts, keys, reporter),
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
    """Print a value as JSON."""
    json.dump(found, sys.stdout, ensure_ascii=False, indent=2)
    sys.stdout.write("\n")


def print_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table with a header and aligned columns. Control characters become spaces."""
    cells = [
        ["".join(c if c.isprintable() else " " for c in cell) for cell in row]
        for row in (heads, *rows)
    ]
    widths = [max(map(len, column)) for column in zip(*cells)]
    for row in cells:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths))
        sys.stdout.write(line.rstrip() + "\n")
