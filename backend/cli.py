"""Which commands there are, and which one was meant."""

from __future__ import annotations

import argparse
import importlib
from typing import Any, Mapping, Sequence

from backend import __version__
from backend.errors import DyndnsError

# By name: what the help says of it. `commands/` has a module for each.
COMMANDS: Mapping[str, str] = {
    "serve": "serve /update and /nic/update (what happens without a command)",
    "setup": "print what to paste into a router or a program, for one host",
    "check": "try everything for real: settings, key file, store, tokens, zones, ntfy",
    "hosts": "show how every host fares; try again, forget an error, mute",
    "keys": "show which hosts have a key, give one a new key, share one",
    "history": "show every change, failure and silence",
    "healthy": "exit 0 when the running service is well, for a container's HEALTHCHECK",
}


def run(words: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run one command and return its exit status; 1 with one line when the set-up is wrong."""
    arguments = list(words)
    name = arguments.pop(0) if arguments and arguments[0] in COMMANDS else "serve"
    # Only the one that was asked for: the HEALTHCHECK shouldn't load what serving takes.
    command = importlib.import_module(f"backend.commands.{name}")
    parser = _parser(name, command)
    try:
        return int(command.run(parser.parse_args(arguments), environ))
    except DyndnsError as error:
        verb = "start" if name == "serve" else f"run `{name}`"
        parser.exit(1, f"hetzner-dyndns can't {verb}. {error}\n")


def _parser(name: str, command: Any) -> argparse.ArgumentParser:  # noqa: ANN401
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
    else:
        parser = argparse.ArgumentParser(
            prog=f"python -m backend {name}", description=command.__doc__
        )
    command.add_arguments(parser)
    return parser
