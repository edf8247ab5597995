"""Finds the command that the arguments name, and runs it.

The installed command ``hetzner-dyndns`` also finds its settings; its first start asks for them.
``python -m backend`` uses the settings and the folder that its caller chooses.
"""

from __future__ import annotations

import argparse
import getpass
import importlib
import os
import re
import shlex
import sys
from pathlib import Path
from typing import Mapping, NoReturn, Sequence

from backend import __version__
from backend.errors import (
    DyndnsError,
    HostNotAllowed,
    KeyFileUnusable,
    SettingUnusable,
    StoreUnavailable,
    StoreUnusable,
)
from backend.readers import contents
from backend.settings import read
from backend.text import program, use_zone

_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(.*?)\s*")
_COMMENT = re.compile(r"\s+#.*")
# Command names, each with its line in the help. For all but `serve`, a function of the same name
# adds the arguments to a parser, in a module of `commands/`.
COMMANDS: Mapping[str, str] = {
    "serve": "answer updates; the default",
    "setup": "print the settings for a router or a program, for one host",
    "check": "test all settings, the store, tokens, zones and notifications",
    "hosts": "list, add, rename, remove hosts; change settings; retry, drop",
    "keys": "list the hosts that have a key; replace or share a key",
    "history": "show address changes, failures and lost hosts",
    "notify": "send a test message to every channel: `notify test`",
    "healthcheck": "exit 0 if the running service is healthy, for containers",
}
# The modules of commands that have no module of their own.
MODULES = {"setup": "keys", "history": "hosts", "notify": "check"}
# The settings and the folder of keys and store if root runs the installed command, as for the
# systemd unit.
OF_SYSTEM = Path("/etc/hetzner-dyndns.env"), Path("/var/lib/hetzner-dyndns")
# Written beside the answers. A proxy on this machine adds TLS; changing addresses need a short TTL.
FIRST = {"LISTEN_ADDRESS": "127.0.0.1", "LISTEN_PORT": "8080", "RECORD_TTL": "60"}
# Error classes, each with the section of the documents that helps.
SECTIONS: Mapping[type[DyndnsError], str] = {
    KeyFileUnusable: 'docs/troubleshooting.md, "The key file can\'t be used"',
    SettingUnusable: 'docs/settings.md, "Settings"',
    HostNotAllowed: 'docs/settings.md, "Settings"',
    StoreUnusable: 'docs/operations.md, "When the store can\'t be used"',
    StoreUnavailable: 'docs/operations.md, "When the store can\'t be used"',
}


def main() -> None:
    """Run the installed command in the folder of the service."""
    words = sys.argv[1:]
    options = {word.partition("=")[0] for word in words}
    is_chosen = os.environ.get("HETZNER_TOKEN") or os.environ.get("HETZNER_TOKEN_FILE")
    if not (is_chosen or options & {"--env-file", "--help", "-h", "--version"}):
        file, folder = OF_SYSTEM
        if os.geteuid() != 0:
            config = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
            file, folder = config / "hetzner-dyndns" / ".env", config / "hetzner-dyndns"
            if not file.exists() and OF_SYSTEM[0].exists():
                _stop(f"The settings are in {OF_SYSTEM[0]}: run this command as root, with `sudo`.")
        if words in ([], ["serve"]) and not file.exists():
            _set_up(file)
        if file.exists():
            folder.mkdir(mode=0o700, exist_ok=True)
            os.chdir(folder)
            words = ["--env-file", str(file), *words]
    sys.exit(run(words, os.environ))


def run(words: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run one command; return its exit status, 1 with a line of text for a wrong set-up."""
    files, arguments = _env_file_parser().parse_known_args(words)
    name = arguments.pop(0) if arguments and arguments[0] in COMMANDS else "serve"
    parser = parser_of(name)
    if name == "serve" and arguments and not arguments[0].startswith("-"):
        _, *others = COMMANDS
        parser.error(f"there is no command `{arguments[0]}`: choose from {', '.join(others)}")
    tasks = parser.get_default("tasks")
    if tasks and (not arguments or arguments[0] not in (*tasks, "-h", "--help")):
        arguments.insert(0, tasks[0])
    environ = dict(environ)  # `use_zone` changes TZ of the process, which `read` has to check
    try:
        for path in files.env_file:
            given = {name: value for name, value in environ.items() if value}
            environ = {**read_env_file(path), **given}
        use_zone(environ.get("TZ", "").strip(" '\""))
        options = parser.parse_args(arguments)
        status = int(options.run(options, environ))
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


def read_env_file(path: str) -> dict[str, str]:
    """Return the variables in a file, as Docker Compose and a shell read them.

    Raises:
        SettingUnusable: the file can't be read, or a line isn't ``NAME=value``.

    """
    found = {}
    lines = contents("--env-file", path, "name a readable file.").splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        parts = _ASSIGNMENT.fullmatch(line)
        if parts is None:
            problem = f"--env-file: line {number} of {path} isn't NAME=value"
            raise SettingUnusable(problem, hint="write one variable on each line.")
        name, value = parts.groups()
        is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
        found[name] = value[1:-1] if is_quoted else _COMMENT.sub("", value)
    return found


def serve(_options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Run the service until a signal stops it."""
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
            description="A dynamic-DNS service for zones at Hetzner.\n"
            "Settings come from the environment: see docs/settings.md.",
            epilog="commands:\n" + "\n".join(f"  {n:<12} {words}" for n, words in COMMANDS.items()),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=[_env_file_parser()],
        )
        parser.add_argument("--version", action="version", version=f"hetzner-dyndns {__version__}")
        parser.set_defaults(run=serve)
        return parser
    # Only the modules of this command: the HEALTHCHECK needs far fewer than `serve`.
    module = importlib.import_module(f"backend.commands.{MODULES.get(name, name)}")
    add_arguments = getattr(module, name)
    parser = argparse.ArgumentParser(
        prog=f"{program()} {name}",
        description=add_arguments.__doc__,
        parents=[_env_file_parser()],
    )
    add_arguments(parser)
    return parser


def _set_up(file: Path) -> None:
    """Ask for the settings of the first start until they are usable, and write them to a file."""
    if not sys.stdin.isatty():
        _stop(
            "There are no settings. Run `hetzner-dyndns` in a terminal, where it asks for them, or "
            f"write them to {file}, which only its owner may read, as lines NAME=value: "
            f"HETZNER_TOKEN, BASIC_AUTH_USERNAME, BASIC_AUTH_PASSWORD, {', '.join(FIRST)}."
        )
    print(
        "This is the first start. Create an API token (Read & Write) at console.hetzner.com, in "
        f"the project of your zones. Your answers are written to {file}, which only you can read. "
        "The terminal doesn't show the token and the password while you type.\n"
    )
    try:
        while True:
            given = {
                "HETZNER_TOKEN": getpass.getpass("API token: ").strip(),
                "BASIC_AUTH_USERNAME": input("User name for the dashboard [operator]: ").strip()
                or "operator",
                "BASIC_AUTH_PASSWORD": getpass.getpass(
                    "Password for the dashboard, at least 16 characters: "
                ).strip(),
            }
            try:
                _, warnings = read(given)
                problem = str(warnings[0]) if warnings else ""
            except SettingUnusable as error:
                problem = str(error)
            if any("'" in value for value in given.values()):
                problem = (
                    "Choose values without apostrophes: some programs misread them in the file."
                )
            if not problem:
                break
            print(f"{problem}\n")
    except (EOFError, KeyboardInterrupt):
        _stop("Nothing was written.")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = file.with_name(f"{file.name}.new")
        opened = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(opened, "w", encoding="utf-8") as text:
            for name, value in {**given, **FIRST}.items():
                text.write(f"{name}={shlex.quote(value)}\n")
        new.replace(file)
    except OSError as error:
        _stop(f"Can't write {file} ({error.strerror}).")
    print(f"\nThe settings are in {file}. Restart the service after you change them.\n")


def _stop(reason: str) -> NoReturn:
    sys.exit(f"hetzner-dyndns: {reason}")
