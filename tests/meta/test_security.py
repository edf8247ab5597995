"""docs/security.md names tests that exist, and each claim in its tables has one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[^`:]+\.py(?:::[A-Za-z0-9_]+)*)`", TEXT)))


def names_in(path: Path) -> set[str]:
    """The tests of a file, as pytest names them."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{name}" for name in _functions(node.body)}
    return found | set(_functions(ast.parse(path.read_text(encoding="utf-8")).body))


def _functions(body: list[ast.stmt]) -> list[str]:
    return [node.name for node in body if isinstance(node, ast.FunctionDef)]


@pytest.mark.parametrize("name", NAMED)
def test_a_test_that_is_named_exists(name: str) -> None:
    path, _, test = name.partition("::")
    assert (ROOT / path).is_file()
    assert not test or test in names_in(ROOT / path)


def test_every_claim_has_a_test() -> None:
    tables = re.findall(
        r"^\| can't \| shown by \|\n\|---\|---\|\n((?:\|.*\n)+)", TEXT, re.MULTILINE
    )
    update_requests = [row for table in tables for row in table.splitlines()]
    assert len(update_requests) > 20
    assert [row for row in update_requests if "`tests/" not in row.rsplit("|", 2)[1]] == []


def test_the_readme_points_there() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "docs/security.md" in readme
    assert "docs/security.md" in (ROOT / "SECURITY.md").read_text(encoding="utf-8")
