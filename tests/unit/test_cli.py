from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from backend import __version__, cli

COMMANDS = Path(cli.__file__).parent / "commands"


def test_every_command_has_its_module_and_every_module_its_command() -> None:
    modules = {path.stem for path in COMMANDS.glob("*.py")} - {"__init__", "context"}
    names = set(cli.COMMANDS) - {"serve"}
    assert {cli.MODULES.get(name, name) for name in names} == modules
    for name in names:
        description = cli.parser_of(name).description
        assert description
        assert description.endswith(".")


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.run(["--help"], {})
    assert ended.value.code == 0
    output = capsys.readouterr().out
    assert [name for name in cli.COMMANDS if f"  {name} " not in output] == []


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.run(["--version"], {})
    assert capsys.readouterr().out == f"hetzner-dyndns {__version__}\n"


def test_an_unknown_command_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.run(["chekc", "--json"], {})
    assert ended.value.code == 2
    output = capsys.readouterr().err
    assert "there is no command `chekc`: choose from setup, check, hosts, keys, history," in output


def test_a_wrong_set_up_ends_the_command_with_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.run([], {})
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("hetzner-dyndns can't start. HETZNER_TOKEN")


def test_a_wrong_set_up_names_the_documents_section(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    environ = {"HETZNER_TOKEN": "t" * 64, "REGISTERED_FQDNS": "home.example.com"}
    for variable, value, section in (
        ("NTFY_TOPIC", "alone", "Settings"),
        ("PRE_SHARED_KEY_FILE", str(tmp_path), "The key file can't be used"),
        ("STATE_URL", "oracle://db/x", "When the store can't be used"),
    ):
        keys = {"PRE_SHARED_KEY_FILE": str(tmp_path / "keys")}
        with pytest.raises(SystemExit):
            cli.run([], {**environ, **keys, variable: value})
        output = capsys.readouterr().err.splitlines()[-1]
        assert output.endswith(f'"{section}".)')


def test_a_closed_output_pipe_causes_no_traceback(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("home.example.com the-key-of-home-example-com\n", encoding="utf-8")
    environ = {"REGISTERED_FQDNS": "home.example.com", "PRE_SHARED_KEY_FILE": str(keys)}
    command = [sys.executable, "-m", "backend", "setup", "home.example.com"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env={**os.environ, **environ}, **pipes) as running:
        assert running.stdout
        assert running.stderr
        running.stdout.close()
        assert b"Traceback" not in running.stderr.read()
    assert running.returncode == 1
