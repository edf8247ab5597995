"""Every block of commands in the documents is understood by a shell, and most are run by a test."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.meta.documents import ROOT, Block, blocks

COMMANDS = [block for block in blocks() if block.language == "sh"]

# The beginning of each block, with the test that runs it, or the reason why no test does.
_CLONE = "git clone https://github.com/nmbit/hetzner-dyndns && cd hetzner-dyndns"
RUN: dict[str, str] = {
    f"{_CLONE}\nmake demo": ".ci/run",
    f"{_CLONE}\nmake test": ".ci/run",
    "pipx install": "e2e/test_walk",
    "mkdir -p -m 700 ~/.config/hetzner-dyndns": "unit/test_installed",
    "hetzner-dyndns hosts add": "e2e/test_walk",
    "hetzner-dyndns setup host": "e2e/test_walk",
    "hetzner-dyndns keys list": "e2e/test_walk",
    "python3 -m venv .venv\n.venv/bin/python -m pip install -r client": "e2e/test_walk",
    "curl https://your-backend.example.com/ip": "e2e/test_walk",
    "make test lint types": ".ci/run",
    "touch backend/pre-shared-key": "containers/test_compose",
    "docker compose -f client": "containers/test_compose",
    "docker compose -f backend/docker-compose.yml stop": "containers/test_compose",
    ".venv/bin/pre-commit install": "shipping/test_pre_commit",
    "curl https://your-backend.example.com/openapi.json": "e2e/test_api_lines",
    "curl -X POST https://your-backend": "e2e/test_api_lines",
    "curl -X DELETE https://your-backend": "e2e/test_api_lines",
    "curl -sSf -X POST": "e2e/test_documented_lines",
    'echo "*/5 * * * * curl': "e2e/test_documented_lines",
    "umask 077\nsqlite3 -readonly": "e2e/test_backup",
    'umask 077\n.venv/bin/python -c "import sqlite3': "e2e/test_backup",
    "rm -f hetzner-dyndns.db": "e2e/test_backup",
    "pg_dump": "e2e/test_backup",
    "pg_restore": "e2e/test_backup",
    "python3 -m venv .venv\n.venv/bin/python -m pip install -r backend": "e2e/test_sandbox_docs",
    "export HETZNER_API_URL": "e2e/test_sandbox_docs",
    "key=$(sed": "e2e/test_sandbox_docs",
    "curl -d": "sandbox/test_docs",
    "curl -X POST http://127.0.0.1:8090/_sandbox/reset": "sandbox/test_docs",
}
NOT_RUN: dict[str, str] = {
    "mkdir dyndns": "it would fetch what was published",
    "docker compose up -d": "Caddy's image isn't here: containers/test_first_start",
    "docker run -d": "it would fetch what was published: containers/test_first_start",
    "docker compose -f backend/docker-compose.yml down": "the tests' folder has another project",
    "docker compose -f backend/docker-compose.yml pull": "it would fetch what was published",
    "docker compose -f backend/docker-compose.yml exec": "commands in an image: test_starting",
    "sudo systemctl stop ddclient": "the tests run no services of the system",
    "sudo systemctl stop inadyn": "the tests run no services of the system",
    "sudo apt install curl git pipx": "the tests run no services of the system",
    "sudo mv ~/.config/hetzner-dyndns": "it would change files of the system",
    "sudo env PIPX_HOME": "it would change files of the system",
    "ntfy user add": "ntfy's own commands, which ask for a password",
    "python -m sandbox --limits": "options that tests/sandbox/test_docs.py knows",
}

each_block = pytest.mark.parametrize("block", COMMANDS, ids=lambda block: block.first[:40])


def fate(block: Block, known: dict[str, str]) -> str | None:
    found = [beginning for beginning in known if block.text.startswith(beginning)]
    return max(found, key=len) if found else None


@each_block
def test_a_shell_understands_it(block: Block) -> None:
    ended = subprocess.run(
        ["sh", "-n"], input=block.text, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")


@each_block
def test_a_test_runs_each_block_or_a_reason_is_given(block: Block) -> None:
    assert (fate(block, RUN) is None) != (fate(block, NOT_RUN) is None), block


def test_no_block_is_listed_that_is_gone() -> None:
    used = {fate(block, known) for block in COMMANDS for known in (RUN, NOT_RUN)}
    assert used - {None} == {*RUN, *NOT_RUN}


@pytest.mark.parametrize("place", sorted(set(RUN.values())))
def test_what_runs_it_is_there_and_reads_it(place: str) -> None:
    path = ROOT / place if place.startswith(".") else ROOT / "tests" / f"{place}.py"
    assert path.exists()
    reads = re.search(r"README|DOCUMENTS|\.md|SECTION|blocks\(|make (demo|test)", text_of(path))
    assert reads or place == "containers/test_compose", path


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")
