"""What `completion` prints, in real shells."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import List

import pytest

from backend import cli

HOSTS = "home.example.com,*.home.example.com"
# In zsh, functions for bash are called like this.
ASK = {
    "bash": '. ./script; COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); _hetzner_dyndns',
    "zsh": '. ./script; emulate sh; COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); _hetzner_dyndns',
}
TELL = '; for one in "${COMPREPLY[@]}"; do echo "$one"; done'


class Shell:
    """A shell that has read the script."""

    def __init__(self, name: str, folder: Path, script: str) -> None:
        self._name = name
        self._folder = folder
        (folder / "script").write_text(script, encoding="utf-8")

    def offers(self, *words: str) -> List[str]:
        """What can stand in place of the last word."""
        ended = subprocess.run(
            [self._name, "-c", ASK[self._name] + TELL, self._name, *words],
            cwd=self._folder,
            env={"PATH": "/usr/bin:/bin", "HOME": str(self._folder), "REGISTERED_FQDNS": HOSTS},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ended.returncode, ended.stderr) in {(0, ""), (1, "")}
        return [line for line in ended.stdout.splitlines() if line]


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.real(name)) for name in ("bash", "zsh")]
)
def shell(
    request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Shell:
    assert shutil.which(request.param)
    assert cli.run(["completion", request.param], {}) == 0
    return Shell(request.param, tmp_path, capsys.readouterr().out)


def test_commands_are_offered_whatever_python_it_is(shell: Shell) -> None:
    every = [*cli.COMMANDS, "--help", "--version"]
    assert shell.offers("python", "-m", "backend", "") == every
    assert shell.offers(".venv/bin/python", "-m", "backend", "ch") == ["check"]


def test_tasks_options_devices_and_hosts_are_offered(shell: Shell) -> None:
    ours = ("python3", "-m", "backend")
    assert shell.offers(*ours, "keys", "r") == ["rotate"]
    assert shell.offers(*ours, "keys", "share", "home.example.com", "h") == ["home.example.com"]
    assert shell.offers(*ours, "hosts", "retry", "*") == ["*.home.example.com"]
    assert shell.offers(*ours, "setup", "home.example.com", "--f") == ["--for"]
    assert shell.offers(*ours, "setup", "home.example.com", "--for", "fr") == ["fritzbox"]
    assert shell.offers(*ours, "history", "--") == ["--help", "--since", "--limit", "--json"]
    assert shell.offers(*ours, "completion", "") == ["bash", "zsh", "--help"]


def test_other_programs_of_python_are_left_alone(shell: Shell) -> None:
    assert shell.offers("python", "-m", "http.server", "") == []
    assert shell.offers("python", "") == []
