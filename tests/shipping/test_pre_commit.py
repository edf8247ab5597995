"""pre-commit works as CONTRIBUTING.md describes, in a fresh clone and without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.shipping.tools import ROOT

pytestmark = [
    pytest.mark.real("git", "unshare"),
    pytest.mark.skipif(os.getuid() != 0, reason="only root may take the network away"),
]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the project into a new repository."""
    folder = tmp_path_factory.mktemp("clone") / "project"
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(lambda name: (ROOT / name).is_file(), names.splitlines()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    for words in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    return folder


def offline(clone: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command with the environment activated and no network but loopback."""
    environ = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(clone.parent),
        "GIT_AUTHOR_NAME": "x",
        "GIT_AUTHOR_EMAIL": "x@example.com",
        "GIT_COMMITTER_NAME": "x",
        "GIT_COMMITTER_EMAIL": "x@example.com",
        **variables,
    }
    return subprocess.run(
        ["unshare", "--net", *command],
        cwd=clone,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def hooks(output: str, result: str) -> list[str]:
    return [line.partition(".")[0] for line in output.splitlines() if line.endswith(result)]


def test_all_files_pass_all_hooks(clone: Path) -> None:
    """Run all hooks except the tests."""
    ran = offline(clone, "pre-commit", "run", "--all-files", SKIP="pytest")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert hooks(ran.stdout, "Passed") == ["style", "format", "types"]
    assert hooks(ran.stdout, "Skipped") == ["fast tests"]


def test_once_installed_a_commit_with_a_problem_is_refused(clone: Path) -> None:
    assert offline(clone, "pre-commit", "install").returncode == 0
    (clone / "backend" / "problem.py").write_text("import os,sys\n")
    offline(clone, "git", "add", "backend/problem.py")
    ran = offline(clone, "git", "commit", "-m", "A problem", SKIP="pytest,mypy")
    assert ran.returncode == 1
    assert hooks(ran.stderr, "Failed") == ["style", "format"]
    assert "backend/problem.py" in ran.stderr
