"""Code that the commands share: the settings, the store and the actions; tables and JSON."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from dataclasses import dataclass
from typing import Callable, Iterator, Mapping, Sequence

from backend.admin.actions import Actions
from backend.admin.status import Overview
from backend.auth.keys import KeyFile
from backend.model import Requester
from backend.notify.outbox import Reporter
from backend.settings import Settings, read
from backend.store import Store, opened

OPERATOR = Requester("", "command")


@dataclass(frozen=True)
class Context:
    """The parts of the service that a command needs."""

    settings: Settings
    store: Store
    key_file: KeyFile
    actions: Actions
    overview: Overview


@contextlib.contextmanager
def service_context(environ: Mapping[str, str]) -> Iterator[Context]:
    """Open the store and the key file of the service.

    Raises:
        OperatorError: the set-up is wrong, or the service has never been started.

    """
    settings, _ = read(environ)
    key_file, hosts = KeyFile(settings.access.key_file), settings.access.hosts
    with opened(settings.store.url) as store:
        actions = Actions(store, hosts, key_file, Reporter())
        overview = Overview(store, hosts, settings.watch.lost_after)
        yield Context(settings, store, key_file, actions, overview)


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
