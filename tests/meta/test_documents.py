"""All links in the documents work, and everything that the documents name exists."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from backend import __version__, cli
from backend.settings import VARIABLES
from backend.web import dyndns2, json_api
from backend.web.app import create_app
from client import update_dns
from tests.meta.documents import DOCUMENTS, README, ROOT, anchors, code, headings, links, rows

each_document = pytest.mark.parametrize("name", DOCUMENTS)

API = DOCUMENTS["docs/api.md"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
BACKEND_COMMAND = re.compile(
    r"(?:python -m backend|(?:^ *|`|sudo |exec backend )hetzner-dyndns(?= |$))"
    r"((?: [\w.*<>\[\]/:=…-]+)*)",
    re.MULTILINE,
)


@each_document
def test_every_link_leads_to_a_file_and_a_heading(name: str) -> None:
    for link in links(DOCUMENTS[name]):
        parts = urlsplit(link)
        if parts.scheme:
            assert parts.scheme == "https"
            continue
        place = (ROOT / name).parent / unquote(parts.path) if parts.path else ROOT / name
        assert place.exists(), link
        if parts.fragment:
            text = place.read_text(encoding="utf-8")
            assert parts.fragment in anchors(text), link


def test_links_to_documents_on_github_lead_to_a_heading() -> None:
    link = re.compile(r"github\.com/nmbit/hetzner-dyndns(?:/blob/main/([\w./-]+))?#([\w-]+)")
    places = ("backend", "client", "docs", ".github")
    files = [path for place in places for path in (ROOT / place).rglob("*") if path.is_file()]
    texts = [path.read_bytes().decode("utf-8", "ignore") for path in files]
    found = {one for text in texts for one in link.findall(text)}
    assert len(found) > 1
    for name, anchor in found - {("", "readme")}:
        assert anchor in anchors(DOCUMENTS[name or "README.md"]), (name, anchor)


def test_every_document_can_be_reached_from_the_readme() -> None:
    reached, todo = {"README.md"}, ["README.md"]
    while todo:
        here = todo.pop()
        for link in links(DOCUMENTS[here]):
            place = urlsplit(link).path
            path = (ROOT / here).parent / place if place and ":" not in link else None
            found = str(path.resolve().relative_to(ROOT)) if path else here
            if found in DOCUMENTS and found not in reached:
                reached.add(found)
                todo.append(found)
    assert set(DOCUMENTS) - reached == {".github/pull_request_template.md"}


def test_the_readme_is_short() -> None:
    assert len(README.split()) <= 2000


@each_document
def test_no_heading_comes_twice_in_a_document(name: str) -> None:
    found = [heading for heading in headings(DOCUMENTS[name]) if name != "CHANGELOG.md"]
    assert len(found) == len(set(found))


@each_document
def test_every_command_of_the_backend_that_is_named_is_there(name: str) -> None:
    for found in BACKEND_COMMAND.findall(code(DOCUMENTS[name]).replace("\\\n", " ")):
        words = re.sub(r"--env-file \S+", "", found).split()
        if not words or words[0] in ("COMMAND", "…"):
            continue
        assert words[0] in cli.COMMANDS or words[0] in ("--version", "--help"), found
        if words[0] in cli.COMMANDS:
            assert_understood(words)


def assert_understood(words: list[str]) -> None:
    """Check that the task, if any, and the options exist."""
    parser = cli.parser_of(words[0])
    tasks = [one for one in parser._actions if isinstance(one.choices, dict)]  # noqa: SLF001
    if tasks and len(words) > 1:
        assert words[1] in tasks[0].choices, words
        parser = tasks[0].choices[words[1]]
    for word in words[1:]:
        if word.startswith("--"):
            assert word in options_of(parser), words


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    return {option for one in parser._actions for option in one.option_strings}  # noqa: SLF001


def test_every_command_and_task_and_option_is_in_the_documents() -> None:
    told = "\n".join(DOCUMENTS.values())
    missing = []
    for name in cli.COMMANDS:
        parser = cli.parser_of(name)
        missing += [name] * (f"dyndns {name}" not in told and name != "serve")
        for action in parser._actions:  # noqa: SLF001
            choices = action.choices if isinstance(action.choices, dict) else {}
            missing += [f"{name} {task}" for task in choices if f"`{task}`" not in told]
            missing += [o for o in action.option_strings if o not in told and o[:2] == "--"]
    assert [one for one in missing if one.split()[-1] not in shown_tasks(told)] == []


def shown_tasks(told: str) -> set[str]:
    return set(re.findall(r"hetzner-dyndns \w+ (\w+)", told)) | {"--help"}


@each_document
def test_documented_make_targets_and_variables_exist(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    variables = set(re.findall(r"^([A-Z_]+) \?=|\$\(([A-Z_]+)\)", MAKEFILE, re.MULTILINE))
    known = {one for pair in variables for one in pair}
    for line in re.findall(r"^make ((?:[\w=/.-]+ ?)+)", code(DOCUMENTS[name]), re.MULTILINE):
        for word in line.split():
            assert word.partition("=")[0] in known if "=" in word else word in targets, line


def test_the_help_of_make_has_every_target() -> None:
    phony = re.search(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)
    assert phony is not None
    assert set(phony[1].split()) == set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))


@pytest.mark.parametrize("module", ["sandbox", "demo", "client/update_dns.py"])
def test_the_options_of_other_programs_that_are_named_are_there(module: str) -> None:
    name = module if module.endswith(".py") else f"-m {module}"
    command = [sys.executable, *name.split(), "--help"]
    helped = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    pattern = re.compile(re.escape(name.split("/")[-1]) + r"[^\n|]*")
    for document in DOCUMENTS.values():
        for line in pattern.findall(code(document)):
            assert [o for o in re.findall(r"--[a-z-]+", line) if o not in helped.stdout] == []


@each_document
def test_every_path_of_our_own_that_is_named_is_served(name: str) -> None:
    # Not those of certbot's files, in a folder of that name.
    address = r"(?<!/live/)your-backend\.example\.com(/[\w./-]*)"
    paths = set(re.findall(address, code(DOCUMENTS[name])))
    assert paths - {"/"} <= served_paths()


def served_paths() -> set[str]:
    # They only have to be made.
    certificates = json_api.challenges(None, None, None, [])  # type: ignore[arg-type]
    app = create_app(None, None, None, None, list, [], acme=certificates)  # type: ignore[arg-type]
    # Clients append the rest to the last three.
    return {rule.rule for rule in app.url_map.iter_rules()} | {
        "/metrics",
        "/acme",
        "/acme/",
        "/acme-dns",
    }


def test_the_documents_list_every_json_answer() -> None:
    told: dict[str, set[int]] = {}
    for status, names, *_ in rows(API, "`/update`"):
        for code_word in re.findall(r"`(\w+)`", names):
            told.setdefault(code_word, set()).update(map(int, re.findall(r"\d+", status)))
    fields = {"ip", "type", "fqdn", "url", "A", "AAAA"}
    answers = {word: {status} for status, word in json_api.ANSWERS.values()}
    # The codes for an unknown path and an unsupported method share a row.
    answers.update({word: {404, 405} for word in ("not_found", "method_not_allowed")})
    assert {word: told[word] for word in told if word not in fields} == answers


def test_the_documents_list_every_dyndns2_answer() -> None:
    told = {
        re.findall(r"`([^ `]+)", word)[0]: set(map(int, re.findall(r"\d+", status)))
        for word, status, _ in rows(API, "`/nic/update`")
    }
    answers: dict[str, set[int]] = {"good": {200}, "nochg": {200}, "badagent": {405}}
    for status, word in dyndns2.ANSWERS.values():
        answers.setdefault(word, set()).add(status)
    assert told == answers


def test_the_sections_that_errors_name_are_there() -> None:
    for section in cli.SECTIONS.values():
        document, heading = re.fullmatch(r'(\S+), "(.+)"', section).groups()  # type: ignore[union-attr]
        assert heading in headings(DOCUMENTS[document])


def test_documents_that_the_code_names_are_there() -> None:
    places = ("backend", "client", "sandbox", "demo", "docs/examples")
    files = [path for place in places for path in (ROOT / place).rglob("*") if is_text(path)]
    assert len(files) > 100
    for path in files:
        text = path.read_text(encoding="utf-8")
        for document, heading in re.findall(r'\b((?:docs/)?\w+\.md)(?:, "([^"\n]+)")?', text):
            assert document in DOCUMENTS, path
            shown = heading.replace("\\", "")
            assert not shown or any(one.startswith(shown) for one in headings(DOCUMENTS[document]))


def is_text(path: Path) -> bool:
    return path.suffix in {".py", ".yml", ".html", ".service", ".example"}


def test_all_programs_report_the_same_version() -> None:
    assert update_dns.__version__ == __version__
    for program in ("-m backend", "-m sandbox", "-m demo", "client/update_dns.py"):
        ended = subprocess.run(
            [sys.executable, *program.split(), "--version"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert re.fullmatch(rf"hetzner-dyndns( \w+)? {re.escape(__version__)}\n", ended.stdout)


def test_the_changelog_repeats_nothing() -> None:
    text = DOCUMENTS["CHANGELOG.md"]
    assert re.findall(r"^## (.+)$", text, re.MULTILINE)[0] == "[Unreleased]"
    for release in text.split("\n## ")[1:]:
        kinds = re.findall(r"^### (.+)$", release, re.MULTILINE)
        assert len(kinds) == len(set(kinds))
        order = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
        assert kinds == sorted(kinds, key=order.index)
        lines = re.findall(r"^- (.+)$", release, re.MULTILINE)
        assert len(lines) == len(set(lines))


def test_documented_defaults_are_the_real_ones() -> None:
    defaults = {one.name: one.default for one in VARIABLES}
    found = [
        pair
        for text in DOCUMENTS.values()
        for pair in re.findall(r"`([A-Z][A-Z0-9_]+)`,? \(?(\d+)(?: by default|\))", text)
        if pair[0] in defaults
    ]
    assert found
    assert [pair for pair in found if defaults[pair[0]] != pair[1]] == []
