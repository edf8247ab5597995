"""Tries everything for real, changes nothing, and sends one test message to ntfy.

Exit status 1 when anything is wrong.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from typing import Iterator, List, Mapping

from backend.checks.hetzner import any_failed, check_hetzner
from backend.checks.machine import (
    FAIL,
    Line,
    check_key_file,
    check_ntfy,
    check_settings,
    check_store,
    told,
)
from backend.errors import SettingUnusable
from backend.settings import read
from backend.workbench import tell_as_json, tell_as_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take the form."""
    parser.add_argument("--json", action="store_true", help="for programs")


def run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Check; return 1 when anything is wrong."""
    lines = list(_lines(environ))
    if arguments.json:
        tell_as_json({"ok": not any_failed(lines), "checks": [asdict(line) for line in lines]})
    else:
        tell_as_table(("STATE", "WHAT", "FOUND"), list(_rows(lines)))
    return 1 if any_failed(lines) else 0


def _lines(environ: Mapping[str, str]) -> Iterator[Line]:
    _progress("settings")
    try:
        settings, warnings = read(environ)
    except SettingUnusable as error:
        yield told(FAIL, "settings", error)
        return
    yield from check_settings(settings, warnings)
    _progress("key file")
    yield from check_key_file(settings.access)
    _progress("store")
    yield from check_store(settings.store.url)
    yield from check_hetzner(settings.hetzner, settings.access.hosts, _progress)
    _progress("ntfy")
    yield check_ntfy(settings.ntfy)


def _progress(what: str) -> None:
    """Say what is being tried, where it doesn't mix with the answer."""
    print(f"checking {what} …", file=sys.stderr, flush=True)


def _rows(lines: List[Line]) -> Iterator[List[str]]:
    for line in lines:
        yield [line.state, line.what, line.found]
        if line.mend:
            yield ["", "", f"-> {line.mend}"]
