"""Every dependency has its reason in CONTRIBUTING.md."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
CHAPTER = (ROOT / "CONTRIBUTING.md").read_text("utf-8").split("\n## Dependencies\n", 1)[1]


def required() -> set[str]:
    """What all the requirements files name themselves."""
    files = [*ROOT.glob("requirements*.txt"), *ROOT.glob("*/requirements*.txt")]
    assert len(files) >= 5
    lines = [line for path in files for line in path.read_text("utf-8").splitlines()]
    return {
        re.split(r"[\[<>=; ]", line, maxsplit=1)[0].lower()
        for line in lines
        if line and line[0].isalpha()
    }


def given_reasons() -> set[str]:
    rows = re.findall(r"^\| ([A-Za-z][^|]*?) \| .+ \|$", CHAPTER, re.MULTILINE)
    return {name.split(" ")[0].lower() for row in rows for name in row.split(", ")}


def test_dependencies_and_documented_reasons_match() -> None:
    assert required() == given_reasons()
