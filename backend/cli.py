"""Finds the command that the arguments name, and runs it."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import Any, Mapping, Sequence

from backend import __version__
from backend.errors import (
    DyndnsError,
    HostNotAllowed,
    KeyFileUnusable,
    SettingUnusable,
    StoreUnavailable,
    StoreUnusable,
)

# Command names, each with its line in the help. All but `serve` are modules in `commands/`.
COMMANDS: Mapping[str, str] = {
    "serve": "answer updates; the default",
    "setup": "print the settings for a router or a program, for one host",
    "check": "test settings, key file, store, tokens, zones and ntfy; changes nothing",
    "hosts": "list all hosts with their states; retry, drop a failed update, mute",
    "keys": "list the hosts that have a key; replace or share a key",
    "history": "show address changes, failures and lost hosts",
    "healthcheck": "exit 0 if the running service is healthy, for a container's HEALTHCHECK",
}
# Error classes, each with the section of the documents that helps.
SECTIONS: Mapping[type[DyndnsError], str] = {
    KeyFileUnusable: 'README.md, "The key file can\'t be used"',
    SettingUnusable: 'README.md, "Settings"',
    HostNotAllowed: 'README.md, "Settings"',
    StoreUnusable: 'docs/operations.md, "When the store can\'t be used"',
    StoreUnavailable: 'docs/operations.md, "When the store can\'t be used"',
}


def run(words: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run one command; return its exit status, 1 with a line of text for a wrong set-up."""
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
    except BrokenPipeError:  # the reader has closed the pipe, as in `history | head`
        # Python would try to write the rest when it ends, and print a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except DyndnsError as error:
        verb = "start" if name == "serve" else f"run `{name}`"
        found = [SECTIONS[family] for family in type(error).__mro__ if family in SECTIONS]
        section = f" (See {found[0]}.)" if found else ""
        parser.exit(1, f"hetzner-dyndns can't {verb}. {error}{section}\n")
    return status


# Import only the modules of one command: the HEALTHCHECK needs far fewer than `serve`.
def _command(name: str) -> Any:  # noqa: ANN401
    return importlib.import_module(f"backend.commands.{name}")


def _serve(environ: Mapping[str, str]) -> int:
    environ = dict(environ)
    # gunicorn converts this variable to a number at import, and fails if it isn't a number.
    os.environ.pop("WEB_CONCURRENCY", None)
    server = importlib.import_module("backend.server.gunicorn")
    return int(server.run(environ, importlib.import_module("backend.service").build))


def parser_of(name: str) -> argparse.ArgumentParser:
    """Return the parser for the arguments of one command."""
    if name == "serve":
        parser = argparse.ArgumentParser(
            prog="python -m backend",
            usage="python -m backend [-h] [--version] [COMMAND] …",
            description="A dynamic-DNS service for zones at Hetzner. Settings come from the "
            "environment: see README.md.",
            epilog="commands:\n" + "\n".join(f"  {n:<11} {words}" for n, words in COMMANDS.items()),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        parser.add_argument("--version", action="version", version=f"hetzner-dyndns {__version__}")
        return parser
    command = _command(name)
    parser = argparse.ArgumentParser(prog=f"python -m backend {name}", description=command.__doc__)
    command.add_arguments(parser)
    return parser
