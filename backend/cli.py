"""Which commands there are, and which one was meant."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import Any, Mapping, Sequence, Type

from backend import __version__
from backend.errors import (
    DyndnsError,
    HostNotAllowed,
    KeyFileUnusable,
    SettingUnusable,
    StoreUnavailable,
    StoreUnusable,
)

# By name: what the help says of it. `commands/` has a module for each.
COMMANDS: Mapping[str, str] = {
    "serve": "serve /update and /nic/update (what happens without a command)",
    "setup": "print what to paste into a router or a program, for one host",
    "check": "try everything for real: settings, key file, store, tokens, zones, ntfy",
    "hosts": "show how every host fares; try again, drop a failed update, mute",
    "keys": "show which hosts have a key, give one a new key, share one",
    "history": "show every change, failure and silence",
    "healthcheck": "exit 0 when the running service is well, for a container's HEALTHCHECK",
}
# Where the documents help, by what is wrong.
SECTIONS: Mapping[Type[DyndnsError], str] = {
    KeyFileUnusable: 'README.md, "The key file can\'t be used"',
    SettingUnusable: 'README.md, "Settings"',
    HostNotAllowed: 'README.md, "Settings"',
    StoreUnusable: 'docs/operations.md, "When the store can\'t be used"',
    StoreUnavailable: 'docs/operations.md, "When the store can\'t be used"',
}


def run(words: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run one command and return its exit status; 1 with one line when the set-up is wrong."""
    arguments = list(words)
    name = arguments.pop(0) if arguments and arguments[0] in COMMANDS else "serve"
    parser = parser_of(name)
    if name == "serve" and arguments and not arguments[0].startswith("-"):
        _, *others = COMMANDS
        parser.error(f"there is no command `{arguments[0]}`: choose from {', '.join(others)}")
    try:
        options = parser.parse_args(arguments)
        status = _serve(environ) if name == "serve" else int(_command(name).run(options, environ))
        sys.stdout.flush()
    except BrokenPipeError:
        return _unread()
    except DyndnsError as error:
        verb = "start" if name == "serve" else f"run `{name}`"
        parser.exit(1, f"hetzner-dyndns can't {verb}. {error}{_section(error)}\n")
    return status


def _unread() -> int:
    """End quietly: whoever reads, as in ``history | head``, has seen enough."""
    # Python would try to write the rest when it ends, and complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def _section(error: DyndnsError) -> str:
    """Return where to read on."""
    found = [SECTIONS[family] for family in type(error).__mro__ if family in SECTIONS]
    return f" (See {found[0]}.)" if found else ""


# Only the modules of one command are imported: HEALTHCHECK needs few of those for `serve`.
def _command(name: str) -> Any:  # noqa: ANN401
    return importlib.import_module(f"backend.commands.{name}")


def _serve(environ: Mapping[str, str]) -> int:
    server = importlib.import_module("backend.server.gunicorn")
    return int(server.run(environ, importlib.import_module("backend.service").build))


def parser_of(name: str) -> argparse.ArgumentParser:
    """Return what reads the arguments of one command."""
    if name == "serve":
        parser = argparse.ArgumentParser(
            prog="python -m backend",
            usage="python -m backend [-h] [--version] [COMMAND] …",
            description="A dynamic-DNS service for zones at Hetzner. Settings come from the "
            "environment: see README.md.",
            epilog="commands:\n" + "\n".join(f"  {n:<10} {words}" for n, words in COMMANDS.items()),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        parser.add_argument("--version", action="version", version=f"hetzner-dyndns {__version__}")
        return parser
    command = _command(name)
    parser = argparse.ArgumentParser(prog=f"python -m backend {name}", description=command.__doc__)
    command.add_arguments(parser)
    return parser
