"""Finds the command that the arguments name, and runs it."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
from pathlib import Path
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
from backend.text import program, use_zone

_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(.*?)\s*")
_COMMENT = re.compile(r"\s+#.*")
# Command names, each with its line in the help. All but `serve` are modules in `commands/`.
COMMANDS: Mapping[str, str] = {
    "serve": "answer updates; the default",
    "setup": "print the settings for a router or a program, for one host",
    "check": "test settings, key file, store, tokens, zones and notifications; change nothing",
    "hosts": "list, add, rename or remove hosts; change settings; retry, drop, mute",
    "keys": "list the hosts that have a key; replace or share a key",
    "history": "show address changes, failures and lost hosts",
    "notify": "send a test message to every channel: `notify test`",
    "healthcheck": "exit 0 if the running service is healthy, for a container's HEALTHCHECK",
}
# Error classes, each with the section of the documents that helps.
SECTIONS: Mapping[type[DyndnsError], str] = {
    KeyFileUnusable: 'docs/troubleshooting.md, "The key file can\'t be used"',
    SettingUnusable: 'docs/settings.md, "Settings"',
    HostNotAllowed: 'docs/settings.md, "Settings"',
    StoreUnusable: 'docs/operations.md, "When the store can\'t be used"',
    StoreUnavailable: 'docs/operations.md, "When the store can\'t be used"',
}


def run(words: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run one command; return its exit status, 1 with a line of text for a wrong set-up."""
    files, arguments = _env_file_parser().parse_known_args(words)
    name = arguments.pop(0) if arguments and arguments[0] in COMMANDS else "serve"
    parser = parser_of(name)
    if name == "serve" and arguments and not arguments[0].startswith("-"):
        _, *others = COMMANDS
        parser.error(f"there is no command `{arguments[0]}`: choose from {', '.join(others)}")
    tasks = getattr(_command(name), "TASKS", ()) if name != "serve" else ()
    if tasks and (not arguments or arguments[0] not in (*tasks, "-h", "--help")):
        arguments.insert(0, tasks[0])
    try:
        for path in files.env_file:
            given = {name: value for name, value in environ.items() if value}
            environ = {**_read_env_file(Path(path)), **given}
        use_zone(environ.get("TZ", "").strip(" '\""))
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


def _env_file_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    help_text = "read settings from a file with lines NAME=value; the environment has priority"
    parser.add_argument("--env-file", action="append", default=[], metavar="FILE", help=help_text)
    return parser


def _read_env_file(path: Path) -> dict[str, str]:
    """Return the variables in a file, as Docker Compose and a shell read them.

    Raises:
        SettingUnusable: the file can't be read, or a line isn't ``NAME=value``.

    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        problem = f"--env-file: can't read {path} ({reason})"
        raise SettingUnusable(problem, hint="name a readable file.") from None
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        parts = _ASSIGNMENT.fullmatch(line)
        if parts is None:
            problem = f"--env-file: line {number} of {path} isn't NAME=value"
            raise SettingUnusable(problem, hint="write one variable a line.")
        name, value = parts.groups()
        is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
        found[name] = value[1:-1] if is_quoted else _COMMENT.sub("", value)
    return found


# Import only the modules of one command: the HEALTHCHECK needs far fewer than `serve`.
def _command(name: str) -> Any:  # noqa: ANN401
    return importlib.import_module(f"backend.commands.{name}")


def _serve(environ: Mapping[str, str]) -> int:
    environ = dict(environ)
    # gunicorn and flask read these variables themselves. gunicorn fails at its import if
    # WEB_CONCURRENCY isn't a number, and at a static file if SENDFILE isn't a switch.
    for name in ("WEB_CONCURRENCY", "SENDFILE", "PORT", "FORWARDED_ALLOW_IPS", "FLASK_DEBUG"):
        os.environ.pop(name, None)
    server = importlib.import_module("backend.server.gunicorn")
    return int(server.run(environ, importlib.import_module("backend.service").build))


def parser_of(name: str) -> argparse.ArgumentParser:
    """Return the parser for the arguments of one command."""
    if name == "serve":
        parser = argparse.ArgumentParser(
            prog=program(),
            usage=f"{program()} [-h] [--version] [--env-file FILE] [COMMAND] …",
            description="A dynamic-DNS service for zones at Hetzner. Settings come from the "
            "environment: see docs/settings.md.",
            epilog="commands:\n" + "\n".join(f"  {n:<11} {words}" for n, words in COMMANDS.items()),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=[_env_file_parser()],
        )
        parser.add_argument("--version", action="version", version=f"hetzner-dyndns {__version__}")
        return parser
    command = _command(name)
    parser = argparse.ArgumentParser(
        prog=f"{program()} {name}",
        description=command.__doc__,
        parents=[_env_file_parser()],
    )
    command.add_arguments(parser)
    return parser
