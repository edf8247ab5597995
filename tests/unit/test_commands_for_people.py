"""The commands in messages run where the service runs: in its folder, or in its container."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from backend import cli, text


@pytest.fixture(autouse=True)
def without_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["backend"])


def test_a_python_in_the_folder_is_named_relative_to_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv/bin/python"))
    assert text.command("hosts", "add", "NAME") == ".venv/bin/python -m backend hosts add NAME"
    monkeypatch.setattr(sys, "executable", "/opt/a folder/python")
    assert text.command("check") == "'/opt/a folder/python' -m backend check"


def test_the_installed_command_names_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/local/bin/hetzner-dyndns", "--env-file", "s"])
    assert text.command("check") == "hetzner-dyndns --env-file s check"
    assert cli.parser_of("hosts").prog == "hetzner-dyndns hosts"


@pytest.mark.parametrize("words", [["--env-file", "my secrets"], ["--env-file=my secrets"]])
def test_the_command_reads_the_same_settings(
    monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["backend", *words, "serve"])
    shown = text.command("check").partition(" -m backend ")[2].replace("'", "")
    assert shown == f"{' '.join(words)} check"


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_a_command_in_a_container_names_engine_and_container(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, engine: str
) -> None:
    assert not text.is_in_container()
    monkeypatch.setattr(text, "_IN_IMAGE", Path(text.__file__).parent)
    monkeypatch.setattr(text, "_OF_PODMAN", tmp_path if engine == "podman" else tmp_path / "none")
    monkeypatch.setattr(socket, "gethostname", lambda: "0123456789ab")
    assert text.is_in_container()
    assert text.command("check") == f"{engine} exec 0123456789ab hetzner-dyndns check"
    assert text.program() == "hetzner-dyndns"
