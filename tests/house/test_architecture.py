"""docs/architecture.md draws the house as it is."""

from __future__ import annotations

import re
from collections import Counter
from typing import Dict, List, Set

from tests.house.documents import DOCUMENTS
from tests.house.test_imports import BACKEND, LAYERS

TEXT = DOCUMENTS["docs/architecture.md"]
DRAWN = TEXT.partition("\n## The house\n")[2].partition("\n## ")[0]


def rooms() -> Dict[str, List[str]]:
    """The modules that are drawn, by their layer; names are those of a package's modules."""
    parts = re.split(r"^\*\*([\w/]+)\*\*: ", DRAWN, flags=re.MULTILINE)[1:]
    return {
        room.rstrip("/"): drawn_in(room if room.endswith("/") else "", told)
        for room, told in zip(parts[::2], parts[1::2])
    }


def drawn_in(package: str, told: str) -> List[str]:
    rows = re.findall(r"^\| (.+?) \| .+ \|$", told, re.MULTILINE)
    names = [name for row in rows for name in re.findall(r"`([\w/]+)`", row)]
    return [name.split("/")[1] if "/" in name else package + name for name in names]


def modules() -> Set[str]:
    paths = [path.relative_to(BACKEND).with_suffix("") for path in BACKEND.rglob("*.py")]
    return {str(path) for path in paths if path.name != "__init__"}


def test_every_module_is_drawn_once() -> None:
    drawn = Counter(name for names in rooms().values() for name in names)
    assert {name for name, number in drawn.items() if number > 1} == set()
    assert set(drawn) == modules()


def test_a_module_stands_in_the_layer_that_its_imports_are_held_to() -> None:
    assert list(rooms()) == list(LAYERS)[::-1]
    for room, names in rooms().items():
        assert {name.split("/")[0] for name in names} == LAYERS[room] - {"__init__"}


def test_every_file_that_is_named_is_there() -> None:
    root = BACKEND.parent
    for name in re.findall(r"`([\w/]+\.(?:py|json|js))`", TEXT):
        places = [root / name, BACKEND / name, *BACKEND.rglob(name), *root.glob(f"*/{name}")]
        assert any(place.exists() for place in places), name
