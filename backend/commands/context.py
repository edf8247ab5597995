"""What a command works with: the settings, the store of the running service, and the actions."""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import dataclass
from typing import Iterator, Mapping, Sequence

from backend.admin.actions import Actions
from backend.admin.status import Overview
from backend.auth.keys import KeyFile
from backend.model import Requester
from backend.notify.reporter import Reporter
from backend.settings import Settings, read
from backend.store import Store, require_store

OPERATOR = Requester("", "command")


@dataclass(frozen=True)
class Workbench:
    """All of it."""

    settings: Settings
    store: Store
    key_file: KeyFile
    actions: Actions
    overview: Overview


@contextlib.contextmanager
def workbench(environ: Mapping[str, str]) -> Iterator[Workbench]:
    """Open what the service works on, as it is.

    Raises:
        OperatorError: the set-up is wrong, or the service was never started.

    """
    settings, _ = read(environ)
    require_store(settings.store.url)
    store = Store(settings.store.url, pool_size=1)
    key_file = KeyFile(settings.access.key_file)
    hosts = settings.access.hosts
    actions = Actions(store, hosts, key_file, Reporter())
    overview = Overview(store, hosts, settings.watch.lost_after)
    try:
        yield Workbench(settings, store, key_file, actions, overview)
    finally:
        store.close()


def tell_as_json(found: object) -> None:
    """Print something for a program to read."""
    json.dump(found, sys.stdout, ensure_ascii=False, indent=2)
    sys.stdout.write("\n")


def tell_as_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their heads, each column as wide as it has to be but the last."""
    cells = [[_printable(cell) for cell in row] for row in (heads, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    for row in cells:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths))
        sys.stdout.write(line.rstrip() + "\n")


def _printable(text: str) -> str:
    """Make a text fit for one line of a terminal, whatever somebody sent."""
    return "".join(c if c.isprintable() else " " for c in text)
