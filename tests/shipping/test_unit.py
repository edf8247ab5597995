"""systemd accepts the units and rates them as well sandboxed."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Mapping

import pytest

from backend import cli
from backend.readers import Reader
from backend.settings import ServerSettings
from tests.meta.documents import blocks
from tests.shipping.tools import ROOT, run

UNIT = ROOT / "client" / "hetzner-dyndns-client.service"
BACKEND = ROOT / "backend" / "hetzner-dyndns.service"
UNITS = pytest.mark.parametrize("unit", [UNIT, BACKEND], ids=["client", "backend"])

pytestmark = pytest.mark.real("systemd-analyze")


@UNITS
def test_systemd_accepts_the_unit(unit: Path, tmp_path: Path) -> None:
    copy = tmp_path / unit.name
    text = unit.read_text(encoding="utf-8")
    program = f'"{sys.executable}"'  # its path may contain a space
    programs = "/opt/hetzner-dyndns/.venv/bin/python|/usr/local/bin/hetzner-dyndns"
    copy.write_text(re.sub(f"(?<==)({programs})", program, text))
    assert run("systemd-analyze", "verify", "--man=no", str(copy)) == ""


def test_systemd_refuses_an_invalid_unit(tmp_path: Path) -> None:
    worse = tmp_path / UNIT.name
    text = UNIT.read_text(encoding="utf-8").replace("ProtectSystem=strict", "ProtectSystem=strikt")
    worse.write_text(text, encoding="utf-8")
    assert "strikt" in run("systemd-analyze", "verify", "--man=no", str(worse))


@UNITS
def test_the_unit_is_sandboxed(unit: Path) -> None:
    """0 is best and 10 is worst; a network service can't have a much lower rating."""
    output = run("systemd-analyze", "security", "--offline=true", "--no-pager", str(unit))
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", output)
    assert exposure is not None, output
    assert float(exposure[1]) <= 1.5


def test_the_unit_starts_the_program_in_isolated_mode(tmp_path: Path) -> None:
    text = UNIT.read_text(encoding="utf-8")
    command = re.search(r"^ExecStart=(.*)$", text, re.MULTILINE)
    assert command is not None
    _, *options, program = command[1].split()
    assert f"install -D -m 644 update_dns.py {program}" in text
    shutil.copy(ROOT / "client" / "update_dns.py", tmp_path)
    copy = str(tmp_path / "update_dns.py")
    assert run(sys.executable, *options, copy, "--version", cwd=tmp_path).strip()


def test_the_backends_unit_uses_the_files_of_the_command_that_root_runs() -> None:
    text, (settings, folder) = BACKEND.read_text(encoding="utf-8"), cli.OF_SYSTEM
    assert f"EnvironmentFile={settings}\n" in text
    assert f"WorkingDirectory={folder}\nStateDirectory={folder.name}\n" in text
    assert "ExecStart=/usr/local/bin/hetzner-dyndns\n" in text
    (block,) = (one.text for one in blocks() if "sudo hetzner-dyndns\n" in one.text)
    commands = [line.partition("#")[0].strip() for line in text.replace("#   ", "").splitlines()]
    assert [line for line in block.splitlines() if line not in commands] == [
        "sudo journalctl -u hetzner-dyndns"
    ]


@pytest.mark.parametrize("settings", [{}, cli.FIRST])
def test_the_backends_unit_listens_where_that_needs_no_capability(
    settings: Mapping[str, str],
) -> None:
    unit = BACKEND.read_text(encoding="utf-8")
    environ = {**dict(re.findall(r"^Environment=(\w+)=(.*)$", unit, re.MULTILINE)), **settings}
    assert Reader(environ).section(ServerSettings).port >= 1024
