"""docs/architecture.md names every module, and no file that isn't there."""

from __future__ import annotations

import re

from tests.meta.documents import DOCUMENTS
from tests.meta.test_imports import BACKEND, LAYERS, MODULES

TEXT = DOCUMENTS["docs/architecture.md"]
TABLE = TEXT.partition("| module | answers |")[2].partition("\n\n")[0]


def test_every_module_is_in_the_table() -> None:
    named = set(re.findall(r"`([\w/*]+)`", re.sub(r"\|[^|]*\|$", "|", TABLE, flags=re.MULTILINE)))
    named = {name.replace("/", ".") for name in named}
    packages = {name[:-2] for name in named if name.endswith(".*")}
    missing = {
        module
        for module, path in MODULES.items()
        if path.name != "__init__.py"
        and module not in named
        and module.partition(".")[0] not in packages
    }
    assert missing == set()


def test_the_picture_has_every_layer() -> None:
    picture = TEXT.partition("```")[2].partition("```")[0]
    assert [line.split()[0] for line in picture.strip().splitlines()] == list(LAYERS)[::-1]


def test_every_file_that_is_named_is_there() -> None:
    root = BACKEND.parent
    for name in re.findall(r"`([\w/]+\.(?:py|json|js))`", TEXT):
        places = [root / name, BACKEND / name, *BACKEND.rglob(name), *root.glob(f"*/{name}")]
        assert any(place.exists() for place in places), name
