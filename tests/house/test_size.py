"""Nothing grows beyond what can be read in one go."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path
from typing import Dict, Iterator, Tuple

ROOT = Path(__file__).parents[2]
PACKAGES = ("backend", "sandbox", "demo")


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        found = sorted((ROOT / package).rglob("*.py"))
        assert found, package
        yield from found


def functions() -> Iterator[Tuple[str, int]]:
    """Every function and its length in lines, without decorators and docstring."""
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                assert node.end_lineno is not None
                length = node.end_lineno - node.lineno + 1
                yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", length - docs(node)


def docs(node: ast.AST) -> int:
    """The lines of a function's docstring."""
    first = node.body[0]  # type: ignore[attr-defined]
    if ast.get_docstring(node) is None:  # type: ignore[arg-type]
        return 0
    return first.end_lineno - first.lineno + 1


def longer(lengths: Dict[str, int], most: int) -> Dict[str, int]:
    return {name: length for name, length in lengths.items() if length > most}


def test_no_module_has_more_than_250_lines() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in sources()
    }
    assert longer(lengths, 250) == {}


def test_no_function_has_more_than_40_lines_and_most_have_fewer_than_10() -> None:
    lengths = dict(functions())
    assert longer(lengths, 40) == {}
    assert statistics.median(lengths.values()) < 10
