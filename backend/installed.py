"""The installed command ``hetzner-dyndns``: finds its settings, and asks for them at first.

``python -m backend`` does the same with the settings and the folder that its caller chooses.
"""

from __future__ import annotations

import getpass
import os
import shlex
import sys
from pathlib import Path
from typing import Mapping, NoReturn

from backend.cli import run
from backend.errors import SettingUnusable
from backend.settings import read

# The settings and the folder of keys and store if root runs the command, as for the systemd unit.
OF_SYSTEM = Path("/etc/hetzner-dyndns.env"), Path("/var/lib/hetzner-dyndns")
# Written beside the answers. A proxy on this machine adds TLS; changing addresses need a short TTL.
FIRST = {"LISTEN_ADDRESS": "127.0.0.1", "LISTEN_PORT": "8080", "RECORD_TTL": "60"}


def main() -> None:
    """Run the command that the arguments name, in the folder of the service."""
    words = sys.argv[1:]
    if not _chooses(words, os.environ):
        file, folder = _place()
        if words in ([], ["serve"]) and not file.exists():
            _write(file, _ask(file))
        if file.exists():
            folder.mkdir(mode=0o700, exist_ok=True)
            os.chdir(folder)
            words = ["--env-file", str(file), *words]
    sys.exit(run(words, os.environ))


def _chooses(words: list[str], environ: Mapping[str, str]) -> bool:
    """Return whether the caller has chosen the settings, or the command needs none."""
    options = {word.partition("=")[0] for word in words}
    return bool(
        options & {"--env-file", "--help", "-h", "--version"}
        or environ.get("HETZNER_TOKEN")
        or environ.get("HETZNER_TOKEN_FILE")
    )


def _place() -> tuple[Path, Path]:
    """Return the file of the settings, and the folder of keys and store."""
    if os.geteuid() == 0:
        return OF_SYSTEM
    folder = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "hetzner-dyndns"
    file = folder / ".env"
    if not file.exists() and OF_SYSTEM[0].exists():
        _stop(f"The settings are in {OF_SYSTEM[0]}: run this command as root, with `sudo`.")
    return file, folder


def _ask(file: Path) -> Mapping[str, str]:
    """Ask for the settings of the first start until they are usable."""
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
            problem = _problem(given)
            if not problem:
                return {**given, **FIRST}
            print(f"{problem}\n")
    except (EOFError, KeyboardInterrupt):
        _stop("Nothing was written.")


def _problem(given: Mapping[str, str]) -> str:
    """Return why the settings can't be used; an empty string if they can."""
    if any("'" in value for value in given.values()):
        return "Choose values without apostrophes: some programs misread them in the file."
    try:
        _, warnings = read(given)
    except SettingUnusable as error:
        return str(error)
    return str(warnings[0]) if warnings else ""


def _write(file: Path, settings: Mapping[str, str]) -> None:
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = file.with_name(f"{file.name}.new")
        opened = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(opened, "w", encoding="utf-8") as text:
            text.writelines(f"{name}={shlex.quote(value)}\n" for name, value in settings.items())
        new.replace(file)
    except OSError as error:
        _stop(f"Can't write {file} ({error.strerror}).")
    print(f"\nThe settings are in {file}. Restart the service after you change them.\n")


def _stop(reason: str) -> NoReturn:
    sys.exit(f"hetzner-dyndns: {reason}")
