"""`make clean` removes what other targets and Python create, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.shipping.tools import ROOT, run

pytestmark = pytest.mark.real("make")


def test_cleaning_removes_caches_and_builds(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    kept = ("Makefile", "backend/cli.py", ".venv-other/lib/__pycache__/x.pyc", "pre-shared-key")
    gone = ("backend/__pycache__/cli.pyc", "a b/c/__pycache__/x.pyc", "build/lib/x", ".venv/x")
    for name in (*kept[1:], *gone, "x.egg-info/PKG-INFO", ".ruff_cache/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    run("make", "clean", "VENV=.venv", cwd=tmp_path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == set(kept)
