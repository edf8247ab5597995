"""Reads the documents for the tests in this folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Iterator, NamedTuple

ROOT = Path(__file__).parents[2]
DOCUMENTS: dict[str, str] = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob(".github/*.md")])
}
README = DOCUMENTS["README.md"]
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)\n\1```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A block of code, without its indentation."""

    document: str
    language: str
    text: str

    @property
    def first(self) -> str:
        """The line that identifies the block."""
        return self.text.splitlines()[0]


def blocks() -> list[Block]:
    return [
        Block(name, language, re.sub(f"^{indent}", "", text, flags=re.MULTILINE))
        for name, document in DOCUMENTS.items()
        for indent, language, text in _FENCE.findall(document)
    ]


def prose(text: str) -> str:
    """A document without its blocks."""
    return _FENCE.sub("", text)


def code(text: str) -> str:
    """All code in a document."""
    spans = re.findall(r"`([^`]+)`", prose(text))
    return "\n".join([*(block for _, _, block in _FENCE.findall(text)), *map(_one_line, spans)])


def _one_line(span: str) -> str:
    return " ".join(span.split())


def headings(text: str) -> list[str]:
    return re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)


def anchors(text: str) -> set[str]:
    """The anchors that GitHub makes of the headings."""
    return {
        re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-")
        for heading in headings(text)
    }


def links(text: str) -> Iterator[str]:
    """The targets of the links and pictures in a document."""
    yield from re.findall(r"\]\(\s*([^)\s]+)\s*\)", re.sub(r"`[^`]*`", "", prose(text)))


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of every table in a section, without the header rows."""
    section = text.split(f" {heading}\n", 1)[1].split("\n#", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]
    return [row for place, row in enumerate(cells) if not _is_head(cells, place)]


def _is_head(cells: list[list[str]], place: int) -> bool:
    rule = re.compile(r"[-|]+")
    below = cells[place + 1] if place + 1 < len(cells) else []
    return any(rule.fullmatch(row[0]) for row in (cells[place], below) if row)
