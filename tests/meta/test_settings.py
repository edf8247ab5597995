"""The settings, their document and the example file agree.

docs/settings.md: a row ``| `NAME` | `default` | text |`` a setting; the middle
cell is empty when there is no default. backend/.secrets.example: a line ``NAME=value``, or
``#NAME=default`` commented out.
"""

from __future__ import annotations

import re
import subprocess

import pytest

from backend.readers import Variable
from backend.settings import VARIABLES, read
from client import update_dns
from tests.meta.documents import DOCUMENTS, ROOT, Block, blocks, code, rows as rows_of
from tests.shipping.tools import COMPOSE_FILES, DOCKERFILES

SETTINGS = DOCUMENTS["docs/settings.md"].partition("\n## ")[0]
EXAMPLE = (ROOT / "backend" / ".secrets.example").read_text(encoding="utf-8")
# Other programs whose variables the documents name.
ELSEWHERE = (
    *("client/update_dns.py", "Makefile", "tests/conftest.py", ".github/workflows", ".ci"),
    *(
        "tests/e2e",
        "tests/containers",
        "tests/client",
        "tests/unit/notify",
        "backend/web",
        "backend",
    ),
)
# Variables in compose files and Dockerfiles that are not settings.
OF_OTHERS = {"NET_BIND_SERVICE"}

NAMES = {variable.name for variable in VARIABLES}
CLIENT = set(re.findall(r"^  ([A-Z_]{2,}) ", update_dns.HELP, re.MULTILINE))
FILES = {f"{variable.name}_FILE" for variable in VARIABLES if variable.has_file}

each_variable = pytest.mark.parametrize("variable", VARIABLES, ids=lambda variable: variable.name)


def rows() -> dict[str, str]:
    """The defaults in the table, by name."""
    found = re.findall(r"^\| `([A-Z0-9_]+)` \| (?:`([^`]*)`|) *\| .+ \|$", SETTINGS, re.MULTILINE)
    assert len(found) == len(re.findall(r"^\| `", SETTINGS, re.MULTILINE)), "a row of another form"
    return dict(found)


def examples() -> dict[str, str]:
    """The values in the example file, by name, commented out or not."""
    found = re.findall(r"^#?([A-Z0-9_]+)=(.*)$", EXAMPLE, re.MULTILINE)
    assert len(dict(found)) == len(found), "a setting twice"
    return dict(found)


@each_variable
def test_the_table_has_every_setting_with_its_default(variable: Variable) -> None:
    assert variable.name in rows(), "docs/settings.md: a row is missing"
    assert rows()[variable.name] == variable.default


@each_variable
def test_the_example_has_every_setting_with_its_default(variable: Variable) -> None:
    assert variable.name in examples(), "backend/.secrets.example: a line is missing"
    shown = examples()[variable.name]
    assert shown == variable.default or (not variable.default and shown)


def test_no_setting_is_promised_that_does_not_exist() -> None:
    assert set(rows()) == NAMES
    assert set(examples()) <= NAMES | FILES


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_names_only_variables_that_are_read(name: str) -> None:
    known = "\n".join(
        path.read_text(encoding="utf-8")
        for place in ELSEWHERE
        for path in [ROOT / place, *(ROOT / place).glob("*")]
        if path.is_file()
    )
    mentioned = set(re.findall(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", code(DOCUMENTS[name])))
    unknown = mentioned - NAMES - FILES - {"NAME_FILE"}
    assert {word for word in unknown if not re.search(rf"\b{word}\b", known)} == set()


@pytest.mark.parametrize("block", [one for one in blocks() if one.language == "ini"])
def test_a_block_of_settings_can_be_used_as_it_stands(block: Block) -> None:
    names = re.findall(r"^(\w+)=", block.text, re.MULTILINE)
    assert names
    assert set(names) <= NAMES
    hosts = ",".join(re.findall(r"(\w+\.example\.com)=::", block.text))
    _, warnings = read({"HETZNER_TOKEN": "t", "REGISTERED_FQDNS": hosts, **as_a_shell_reads(block)})
    assert [warning for warning in warnings if "is empty" not in str(warning)] == []


def as_a_shell_reads(block: Block) -> dict[str, str]:
    """By `set -a; . backend/.secrets`."""
    shell = ["sh", "-e", "-c", f"set -a\n{block.text}\nexec env -0"]
    said = subprocess.run(shell, env={}, capture_output=True, text=True, check=True).stdout
    return dict(pair.split("=", 1) for pair in said.split("\0") if pair)


@pytest.mark.parametrize("file", [*COMPOSE_FILES, *DOCKERFILES])
def test_compose_files_and_images_name_settings_that_are_there(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    named = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", text)) - OF_OTHERS
    assert {name for name in named if name not in NAMES | FILES | CLIENT} == set()


def test_the_documents_list_exactly_the_clients_variables() -> None:
    told = {
        re.findall(r"`(\w+)`", row[0])[0]: row[1]
        for row in rows_of(DOCUMENTS["docs/clients.md"], "The client")
    }
    assert set(told) == CLIENT
    assert f"({update_dns.DEFAULT_INTERVAL})" in told["INTERVAL"]


def test_the_table_documents_secret_files() -> None:
    assert "_FILE`" in SETTINGS.split("\n| ", 1)[0]


def test_the_example_with_a_token_gives_no_warning() -> None:
    lines = dict(re.findall(r"^([A-Z0-9_]+)=(.*)$", EXAMPLE, re.MULTILINE))
    _, warnings = read({**lines, "HETZNER_TOKEN": "t" * 64})
    assert warnings == []
