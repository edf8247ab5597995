"""Tables on a terminal, and in a file."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest

from backend.commands.context import print_table

HEADS = ("HOST", "STATE", "PROBLEM")
ROWS = [
    ("home.example.com", "ok", ""),
    ("nas.example.com", "refused", "The record is protected at Hetzner. " * 3),
]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Describe a terminal of 60 columns and 10 lines."""
    for name, value in (("COLUMNS", "60"), ("LINES", "10"), ("TERM", "xterm"), ("NO_COLOR", "")):
        monkeypatch.setenv(name, value)
    return monkeypatch


def show(terminal: pytest.MonkeyPatch, *arguments: Any, **options: bool) -> None:  # noqa: ANN401
    """Print a table on a terminal."""
    with terminal.context() as patch:  # the fixture can't: pytest replaces standard output later
        patch.setattr(sys.stdout, "isatty", lambda: True)
        print_table(*arguments, **options)


def plain(text: str) -> list[str]:
    return re.sub(r"\033\[\d+m", "", text).splitlines()


def test_a_file_gets_one_line_for_each_row(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(HEADS, ROWS, "2 hosts.")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[1] == "home.example.com  ok"
    assert "\033" not in "".join(lines)


def test_a_terminal_gets_a_table_that_fits(
    terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    show(terminal, HEADS, ROWS, "2 hosts.")
    output = capsys.readouterr().out
    lines = plain(output)
    assert max(map(len, lines)) <= 60
    assert lines[1] == "home.example.com  ok"
    assert lines[2].startswith("nas.example.com   refused  The record")
    assert lines[3].startswith(" " * 27)
    assert lines[-1] == "2 hosts."
    assert " ".join(line[27:] for line in lines[2:-2]) == ROWS[1][2].strip()
    assert "\033[31mrefused\033[0m" in output
    assert "\033[32mok\033[0m" in output
    terminal.setenv("NO_COLOR", "1")
    show(terminal, HEADS, ROWS)
    assert "\033" not in capsys.readouterr().out


def test_a_column_may_be_empty(
    terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    show(terminal, ("HOST", ""), [("home.example.com", "")])
    assert plain(capsys.readouterr().out) == ["HOST", "home.example.com"]


def test_a_long_name_does_not_dissolve_the_table(
    terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    show(terminal, HEADS, [*ROWS, (f"{'long-name.' * 9}example.com", "ok", "")])
    lines = plain(capsys.readouterr().out)
    assert max(map(len, lines)) <= 60
    assert lines[0].split() == list(HEADS)
    assert lines[1].split() == ["home.example.com", "ok"]
    rest = lines[next(n for n, line in enumerate(lines) if line.startswith("long-name")) :]
    assert "".join(line[:25].strip() for line in rest) == f"{'long-name.' * 9}example.com"


def test_a_narrow_terminal_gets_a_line_for_each_cell(
    terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.setenv("COLUMNS", "40")
    show(terminal, HEADS, ROWS)
    lines = plain(capsys.readouterr().out)
    assert max(map(len, lines)) <= 40
    assert lines[:3] == ["HOST     home.example.com", "STATE    ok", ""]


def test_a_long_table_is_shown_in_pages(terminal: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    terminal.setattr("pydoc.pager", shown.append)
    show(terminal, HEADS, ROWS, in_pages=True)
    assert shown == []
    show(terminal, HEADS, ROWS * 5, in_pages=True)
    assert shown[0].count("home.example.com") == 5
