"""The settings, the README and the example file say the same.

README.md: in the section "Settings", a row ``| `NAME` | `default` | text |`` a setting; the middle
cell is empty when there is no default. backend/.secrets.example: a line ``NAME=value``, or
``#NAME=default`` commented out.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Dict

import pytest

from backend.settings import VARIABLES, read
from backend.variables import Variable

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLE = (ROOT / "backend" / ".secrets.example").read_text(encoding="utf-8")
# Who else has variables that the README speaks of.
ELSEWHERE = ("client/update_dns.py", "Makefile", "tests/conftest.py", ".github/workflows")

NAMES = {variable.name for variable in VARIABLES}
FILES = {f"{variable.name}_FILE" for variable in VARIABLES if variable.has_file}

each_variable = pytest.mark.parametrize("variable", VARIABLES, ids=lambda variable: variable.name)


def rows() -> Dict[str, str]:
    """The defaults in the README's table, by name."""
    section = README.split("\n## Settings\n", 1)[1].split("\n## ", 1)[0]
    found = re.findall(r"^\| `([A-Z0-9_]+)` \| (?:`([^`]*)`|) *\| .+ \|$", section, re.MULTILINE)
    assert len(found) == len(re.findall(r"^\| `", section, re.MULTILINE)), "a row of another form"
    return dict(found)


def examples() -> Dict[str, str]:
    """The values in the example file, by name, commented out or not."""
    found = re.findall(r"^#?([A-Z0-9_]+)=(.*)$", EXAMPLE, re.MULTILINE)
    assert len(dict(found)) == len(found), "a setting twice"
    return dict(found)


@each_variable
def test_the_readme_has_every_setting_with_its_default(variable: Variable) -> None:
    assert rows()[variable.name] == variable.default


@each_variable
def test_the_example_has_every_setting_with_its_default(variable: Variable) -> None:
    shown = examples()[variable.name]
    assert shown == variable.default or (not variable.default and shown)


def test_no_setting_is_promised_that_does_not_exist() -> None:
    assert set(rows()) == NAMES
    assert set(examples()) <= NAMES | FILES


def test_the_readme_names_no_variable_that_nobody_reads() -> None:
    known = "\n".join(
        path.read_text(encoding="utf-8")
        for place in ELSEWHERE
        for path in [ROOT / place, *(ROOT / place).glob("*")]
        if path.is_file()
    )
    code = re.findall(r"```.*?```|`[^`\n]+`", README, re.DOTALL)
    mentioned = set(re.findall(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", "\n".join(code)))
    unknown = mentioned - NAMES - FILES - {"NAME_FILE"}
    assert {name for name in unknown if name not in known} == set()
    assert mentioned >= {"HETZNER_TOKEN"}


def test_the_readme_says_that_a_secret_may_come_from_a_file() -> None:
    section = README.split("\n## Settings\n", 1)[1].split("\n## ", 1)[0]
    assert "_FILE`" in section.split("\n| ", 1)[0]


def test_the_example_is_good_for_a_start_once_the_token_is_filled_in() -> None:
    lines = dict(re.findall(r"^([A-Z0-9_]+)=(.*)$", EXAMPLE, re.MULTILINE))
    _, warnings = read({**lines, "HETZNER_TOKEN": "t" * 64})
    assert warnings == []
