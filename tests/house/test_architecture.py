"""docs/architecture.md draws the house as it is."""

from __future__ import annotations

import re
from collections import Counter
from typing import Dict, List, Set

from tests.house.documents import DOCUMENTS
from tests.house.test_imports import BACKEND, LAYERS

TEXT = DOCUMENTS["docs/architecture.md"]
DRAWN = TEXT.partition("\n## The house\n")[2].partition("\n## ")[0]
ORDER = ("ground", "adapters", "memory", "policy", "web", "start")


def storeys() -> Dict[str, List[str]]:
    """The modules that are drawn, by their layer; those of a package stand behind it."""
    parts = re.split(r"^\*\*(\w+)\*\*: ", DRAWN, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], map(drawn_in, parts[1::2])))


def drawn_in(storey: str) -> List[str]:
    found = []
    for names, words in re.findall(r"^\| (.+?) \| (.+) \|$", storey, re.MULTILINE):
        found += re.findall(r"`([\w/]+)`", names)
        if names.endswith("/`"):
            package = names.strip("`")
            found += [package + word for word in re.findall(r"`(\w+)`", words)]
    return found


def modules() -> Set[str]:
    paths = [path.relative_to(BACKEND).with_suffix("") for path in BACKEND.rglob("*.py")]
    return {str(path) for path in paths if path.name != "__init__"}


def test_every_module_is_drawn_once() -> None:
    drawn = Counter(name for names in storeys().values() for name in names)
    assert {name for name, number in drawn.items() if number > 1} == set()
    assert {name for name in drawn if not name.endswith("/")} == modules()


def test_a_module_stands_in_the_layer_that_its_imports_are_held_to() -> None:
    assert tuple(storeys()) == ORDER[::-1]
    for name, layer in zip(ORDER, LAYERS):
        drawn = {word.split("/")[0] for word in storeys()[name]}
        assert layer - {"__init__"} - drawn == set(), name


def test_every_file_that_is_named_is_there() -> None:
    root = BACKEND.parent
    for name in re.findall(r"`([\w/]+\.(?:py|json|js))`", TEXT):
        places = [root / name, BACKEND / name, *BACKEND.rglob(name), *root.glob(f"*/{name}")]
        assert any(place.exists() for place in places), name
