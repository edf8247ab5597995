"""docs/architecture.md draws every layer, and names no file that isn't there."""

from __future__ import annotations

import re

from tests.meta.documents import DOCUMENTS
from tests.meta.test_imports import BACKEND, LAYERS

TEXT = DOCUMENTS["docs/architecture.md"]


def test_the_picture_has_every_layer() -> None:
    picture = TEXT.partition("```")[2].partition("```")[0]
    assert [line.split()[0] for line in picture.strip().splitlines()] == list(LAYERS)[::-1]


def test_every_file_that_is_named_is_there() -> None:
    root = BACKEND.parent
    for name in re.findall(r"`(\w[\w/]*\.(?:py|json|js))`", TEXT):
        places = [root / name, BACKEND / name, *BACKEND.rglob(name), *root.glob(f"*/{name}")]
        assert any(place.exists() for place in places), name
