"""The commands of README.md, section "Set it up", work as written in an empty folder."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Iterator

import pytest
import requests

from tests.e2e.processes import ROOT, TOKEN, Hetzner, Program, environment
from tests.meta.documents import README, Block, blocks
from tests.ports import free_port

HOST, SEEN = "host.example.com", "203.0.113.7"
FOR_EACH_HOST = "hetzner-dyndns keys list | awk 'NR > 1 { print $1 }' | while"
ANSWERS = {
    "API token: ": TOKEN,
    "[operator]: ": "",
    "16 characters: ": "a-password of $16, or more",
}
# The folder of a normal user, even where root runs the tests.
INSTALLED = f"""#!/bin/sh
exec "{sys.executable}" -c '
import sys
from pathlib import Path
from backend import cli
folder = Path.home() / ".config" / "hetzner-dyndns"
cli.OF_SYSTEM = folder / ".env", folder
sys.argv = sys.argv[1:]
cli.main()
' "$0" "$@"
"""


def step(heading: str) -> list[str]:
    """Return the commands and settings of one section of the README."""
    section = README.partition(f"### {heading}\n")[2].partition("\n### ")[0].partition("\n## ")[0]
    of_readme = [one for one in blocks() if one.document == "README.md"]
    return [one.text for one in of_readme if is_in(one, section)]


def is_in(block: Block, section: str) -> bool:
    return block.language in {"sh", "ini"} and f"\n{block.text}\n" in section


def for_each_host() -> str:
    (found,) = (one.text for one in blocks() if one.text.startswith(FOR_EACH_HOST))
    return found


class Person:
    """Runs the commands of the README; without the TLS proxy, but with the headers it would add."""

    def __init__(self, folder: Path, hetzner: Hetzner) -> None:
        self.folder = folder
        self.port = free_port()
        self._hetzner = hetzner
        for part in ("backend", "client"):
            shutil.copytree(
                ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__")
            )
        # The header that the proxy would add.
        (folder / ".curlrc").write_text(f'header = "X-Real-Ip: {SEEN}"\n', encoding="utf-8")
        command = folder / "bin" / "hetzner-dyndns"
        command.parent.mkdir()
        command.write_text(INSTALLED, encoding="utf-8")
        command.chmod(0o755)
        self.home = folder / ".config" / "hetzner-dyndns"
        # Settings that the README leaves at their defaults.
        self.environ = {
            "PATH": f"{command.parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(folder),
            "HETZNER_API_URL": hetzner.api_url,
            "LISTEN_PORT": str(self.port),
        }

    def command(self, text: str) -> list[str]:
        """Return a command for the shell, without the installation."""
        lines = [line for line in text.splitlines() if not re.search("-m (venv|pip)|^pipx ", line)]
        for old, new in {
            ".venv/bin/python": sys.executable,
            "https://your-backend.example.com": f"http://127.0.0.1:{self.port}",
            "host:secret": f"host:{self.key}",
            "the key of host.example.com": self.key,
            "@hydrogen.ns.hetzner.com": f"@127.0.0.1 -p {self._hetzner.dns_port}",
        }.items():
            lines = [line.replace(old, new) for line in lines]
        return ["sh", "-e", "-c", "\n".join(lines)]

    def run(self, text: str, **variables: str) -> str:
        environ = environment(self.folder, **{**self.environ, **variables})
        ended = subprocess.run(
            self.command(text),
            cwd=self.folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, (text, ended.stdout, ended.stderr)
        return ended.stdout

    def is_known(self) -> bool:
        """Return whether the service knows the key of the host."""
        url = f"http://127.0.0.1:{self.port}/nic/update?hostname={HOST}&myip=198.51.100.2"
        return requests.get(url, auth=(HOST, self.key), timeout=20).ok

    @property
    def key(self) -> str:
        path = self.home / "pre-shared-key"
        return dict(map(str.split, path.read_text().splitlines()))[HOST] if path.exists() else ""


class Terminal(Program):
    """A terminal with a program that runs until it is stopped."""

    def command(self, arguments: list[str]) -> list[str]:  # type: ignore[override]
        return arguments

    def start(self) -> None:
        self._keyboard, end = pty.openpty()
        super().start(end)
        os.close(end)

    def stop(self) -> None:
        super().stop()
        os.close(self._keyboard)

    def answer(self, question: str, text: str) -> None:
        self.wait_until(lambda: self.output.endswith(question), f"to ask {question}")
        os.write(self._keyboard, f"{text}\n".encode())


@pytest.fixture
def person(hetzner: Hetzner, tmp_path: Path) -> Iterator[Person]:
    return Person(tmp_path, hetzner)


@pytest.mark.real("curl", "dig")
def test_the_set_up_works_as_it_stands(person: Person, hetzner: Hetzner) -> None:
    (start,) = step("Without Docker")
    shell = person.command(start.replace("hetzner-dyndns", "exec hetzner-dyndns"))
    backend = Terminal("backend", shell, person.folder, **person.environ)
    backend.start()
    try:
        for question, text in ANSWERS.items():
            backend.answer(question, text)
        next_step = "Next, add a host: hetzner-dyndns hosts add NAME"
        backend.wait_until(lambda: next_step in backend.output, "to start")
        assert not any(text in backend.output for text in ANSWERS.values() if text)
        assert (person.home / ".env").stat().st_mode & 0o777 == 0o600
        first_host, check = step("The first host")
        told = person.run(first_host)
        assert f"setup {HOST}" in told
        assert person.key in told
        assert person.key in person.run(for_each_host())
        (client,) = (one.text for one in blocks() if "client/update_dns.py http" in one.text)
        backend.wait_until(person.is_known, "the host to be known")
        person.run(client, INTERVAL="0", IP="198.51.100.3")
        hetzner.expect(HOST, "198.51.100.3")
        ip, update, dig = check.splitlines()
        assert person.run(ip).strip() == SEEN
        assert f"good {SEEN}" in person.run(update)
        hetzner.expect(HOST, SEEN)
        assert person.run(dig).strip() == SEEN
        assert person.run("hetzner-dyndns check")
    finally:
        backend.stop()


def test_the_loop_over_hosts_survives_a_command_that_reads_its_input(tmp_path: Path) -> None:
    """`docker compose exec` does."""
    command = tmp_path / "hetzner-dyndns"
    command.write_text('#!/bin/sh\n[ $1 = keys ] && seq 3 || { cat > /dev/null; echo "of $2"; }\n')
    command.chmod(0o755)
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    ended = subprocess.run(
        ["sh", "-e", "-c", for_each_host()], env=environ, capture_output=True, text=True, check=True
    )
    assert ended.stdout.splitlines() == ["of 2", "of 3"]
