"""systemd accepts the units and rates them as well sandboxed."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from backend.settings import Reader, ServerSettings
from tests.shipping.tools import ROOT, run

UNIT = ROOT / "client" / "hetzner-dyndns-client.service"
BACKEND = ROOT / "backend" / "hetzner-dyndns.service"
SECRETS = ROOT / "backend" / ".secrets.example"
UNITS = pytest.mark.parametrize("unit", [UNIT, BACKEND], ids=["client", "backend"])

pytestmark = pytest.mark.real("systemd-analyze")


@UNITS
def test_systemd_accepts_the_unit(unit: Path, tmp_path: Path) -> None:
    copy = tmp_path / unit.name
    text = unit.read_text(encoding="utf-8")
    program = f'"{sys.executable}"'  # its path may contain a space
    copy.write_text(text.replace("/opt/hetzner-dyndns/.venv/bin/python", program))
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


def test_the_backends_unit_starts_it_from_where_it_was_copied(tmp_path: Path) -> None:
    text = BACKEND.read_text(encoding="utf-8")
    assert "cp -r backend /opt/hetzner-dyndns/" in text
    shutil.copytree(ROOT / "backend", tmp_path / "opt" / "backend")
    command = ["env", f"PYTHONPATH={tmp_path / 'opt'}", sys.executable, "-m", "backend"]
    assert "ExecStart=/opt/hetzner-dyndns/.venv/bin/python -m backend\n" in text
    assert "hetzner-dyndns" in run(*command, "--version", cwd=tmp_path)


def test_the_backends_unit_listens_where_that_needs_no_capability() -> None:
    """Use the settings of the example."""
    unit, settings = (path.read_text(encoding="utf-8") for path in (BACKEND, SECRETS))
    assert "install -m 600 backend/.secrets /etc/hetzner-dyndns" in unit
    environ = {
        **dict(re.findall(r"^Environment=(\w+)=(.*)$", unit, re.MULTILINE)),
        **dict(re.findall(r"^(\w+)=(.*)$", settings, re.MULTILINE)),
    }
    assert Reader(environ).section(ServerSettings).port >= 1024
