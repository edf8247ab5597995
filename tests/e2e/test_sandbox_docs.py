"""The commands of docs/sandbox.md, section "Try your own set-up", work on other ports."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.processes import ROOT, environment, until
from tests.ports import free_port

TEXT = (ROOT / "docs" / "sandbox.md").read_text(encoding="utf-8")
SECTION = TEXT.partition("## Try your own")[2].partition("\n## ")[0]

pytestmark = pytest.mark.real("curl", "dig")


def blocks(folder: Path) -> list[str]:
    """Return the commands with free ports and this Python, without the installation."""
    ports = {port: str(free_port()) for port in ("8080", "8090", "5354")}
    found = re.findall(r"```sh\n(.*?)```", SECTION, re.DOTALL)
    found[0] = found[0].splitlines()[-1]
    found[0] += " --http-port 8090 --dns-port 5354"
    for place, block in enumerate(found):
        text = block.replace(".venv/bin/python", f"exec {sys.executable}")
        for port, free in ports.items():
            text = text.replace(port, free)
        found[place] = f"cd '{folder}'\n{text}"
    return found


class Terminal:
    """An interactive shell for commands."""

    def __init__(self, folder: Path, name: str, commands: str) -> None:
        self._output = folder / f"{name}.log"
        with self._output.open("w") as output:
            self._shell = subprocess.Popen(
                ["sh", "-c", commands],
                env=environment(folder),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def wait_for(self, words: str) -> None:
        def is_printed() -> bool:
            assert self._shell.poll() is None, self.output
            return words in self.output

        until(is_printed, words, lambda: self.output)

    @property
    def output(self) -> str:
        return self._output.read_text(encoding="utf-8")

    def close(self) -> None:
        os.killpg(self._shell.pid, signal.SIGTERM)
        self._shell.wait(30)


def test_the_documented_sandbox_commands_work(tmp_path: Path) -> None:
    sandbox, backend, update = blocks(tmp_path)
    terminals: dict[str, Terminal] = {}
    try:
        terminals["sandbox"] = Terminal(tmp_path, "sandbox", sandbox)
        terminals["sandbox"].wait_for("sandbox ready")
        terminals["backend"] = Terminal(tmp_path, "backend", backend)
        terminals["backend"].wait_for(" starts on port ")
        typed = subprocess.run(
            ["sh", "-c", update],
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert typed.returncode == 0, typed.stderr
        assert typed.stdout.split() == ["good", "198.51.100.7", "198.51.100.7"]
    finally:
        for terminal in terminals.values():
            terminal.close()
    assert {path.name for path in tmp_path.iterdir()} >= {"sandbox-keys", "sandbox.db"}
