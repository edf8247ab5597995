"""systemd understands the client's unit, and finds it well locked up."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.shipping.tools import ROOT, run

UNIT = ROOT / "client" / "hetzner-dyndns-client.service"

pytestmark = pytest.mark.real("systemd-analyze")


def test_systemd_finds_nothing_wrong_with_the_unit() -> None:
    assert run("systemd-analyze", "verify", "--man=no", str(UNIT)) == ""


def test_systemd_would_find_something_wrong(tmp_path: Path) -> None:
    worse = tmp_path / UNIT.name
    text = UNIT.read_text(encoding="utf-8").replace("ProtectSystem=strict", "ProtectSystem=strikt")
    worse.write_text(text, encoding="utf-8")
    assert "strikt" in run("systemd-analyze", "verify", "--man=no", str(worse))


def test_the_unit_is_locked_up_well() -> None:
    """0 is best and 10 is worst; a service that is on the network can't have much less."""
    said = run("systemd-analyze", "security", "--offline=true", "--no-pager", str(UNIT))
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert exposure is not None, said
    assert float(exposure[1]) <= 1.5


def test_what_the_unit_starts_is_the_program_in_isolation(tmp_path: Path) -> None:
    text = UNIT.read_text(encoding="utf-8")
    command = re.search(r"^ExecStart=(.*)$", text, re.MULTILINE)
    assert command is not None
    _, *options, program = command[1].split()
    assert f"install -D -m 644 update_dns.py {program}" in text
    shutil.copy(ROOT / "client" / "update_dns.py", tmp_path)
    copy = str(tmp_path / "update_dns.py")
    assert run(sys.executable, *options, copy, "--version", cwd=tmp_path).strip()
