"""The package can be installed, and its command works outside of the repository."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.shipping.tools import ROOT, run

pytestmark = pytest.mark.real("git")


def test_the_installed_command_has_everything_it_needs(tmp_path: Path) -> None:
    copy, prefix, elsewhere = (tmp_path / name for name in ("copy", "prefix", "elsewhere"))
    names = run("git", "ls-files", "backend", "pyproject.toml", "setup.cfg", "README.md", "LICENSE")
    for name in names.splitlines():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    elsewhere.mkdir()
    run(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"),
        *("--no-warn-script-location", "--prefix", str(prefix), str(copy)),
    )
    (packages,) = prefix.rglob("site-packages")
    installed = {str(path.relative_to(packages)) for path in packages.glob("backend/**/*.*")}
    listed = {name for name in names.splitlines() if Path(name).suffix in {".py", ".html", ".css"}}
    assert listed <= installed
    command = str(prefix / "bin" / "hetzner-dyndns")
    shown = run("env", f"PYTHONPATH={packages}", command, "--version", cwd=elsewhere)
    assert shown.startswith("hetzner-dyndns ")
    (metadata,) = packages.glob("hetzner_dyndns-*.dist-info/METADATA")
    lines = metadata.read_text(encoding="utf-8").splitlines()
    assert {"License-Expression: MIT", "License-File: LICENSE"} <= set(lines)
