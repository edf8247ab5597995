"""Imports point down the layers of docs/architecture.md, and never in a circle."""

from __future__ import annotations

import ast
import functools
import importlib.util
from pathlib import Path
from typing import Iterator

BACKEND = Path(__file__).parents[2] / "backend"

# From the bottom to the top: modules of `backend`, and packages with all their modules.
LAYERS = {
    "values": {"__init__", "model", "errors", "events", "text", "rate", "outgoing"},
    "adapters": {"store", "hetzner", "notify", "metrics", "settings", "readers", "setup_guides"},
    "policy": {"auth", "sync", "monitor", "admin"},
    "interface": {"web", "commands"},
    "start": {"server", "service", "cli", "__main__"},
}
RANKS = {part: rank for rank, parts in enumerate(LAYERS.values()) for part in parts}
# The modules, or packages with all their modules, that may import a library.
HOMES = {
    "apprise": {"notify.apprise"},
    "idna": {"model"},
    "requests": {"outgoing", "notify.channels"},
    "urllib3": {"outgoing"},
    "sqlalchemy": {"store"},
    "flask": {"web", "service"},  # `service` names the type of the application
    "werkzeug": {"web"},
    "markupsafe": {"web"},
    "itsdangerous": {"web"},
    "segno": {"web"},
    "gunicorn": {"server"},
    "prometheus_client": {"metrics"},
}


def name_of(path: Path) -> str:
    """The dotted name of a module below `backend`; that of its package for an `__init__`."""
    parts = path.relative_to(BACKEND).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {name_of(path): path for path in sorted(BACKEND.rglob("*.py"))}


def imports() -> Iterator[tuple[str, str]]:
    """Every import of the backend: in which module, and of what."""
    for importer, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((importer, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: relative"
                yield from ((importer, f"{node.module}.{alias.name}") for alias in node.names)
    # `cli` imports the module of a command by name.
    yield from (("cli", f"backend.{name}") for name in MODULES if name.startswith("commands."))
    yield from (("cli", "backend.server.gunicorn"), ("cli", "backend.service"))


def module_of(name: str) -> str:
    """The module of the backend that an import needs: the longest name that is a module."""
    parts = name.split(".")[1:]
    for end in range(len(parts), 0, -1):
        if ".".join(parts[:end]) in MODULES:
            return ".".join(parts[:end])
    return "__init__"


@functools.lru_cache(maxsize=None)
def arrows() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {name: set() for name in MODULES}
    for importer, name in imports():
        if name.split(".")[0] == "backend":
            found[importer].add(module_of(name))
    return found


def part(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


def test_every_module_has_its_layer() -> None:
    assert {part(module) for module in MODULES} == set(RANKS)


def test_imports_point_down() -> None:
    ours = [(importer, name) for importer, names in arrows().items() for name in names]
    assert len(ours) > 150
    upward = [pair for pair in ours if RANKS[part(pair[1])] > RANKS[part(pair[0])]]
    assert upward == []


def longest_chain(module: str, above: tuple[str, ...] = ()) -> list[str]:
    assert module not in above, f"a circle: {' -> '.join((*above, module))}"
    below = [longest_chain(name, (*above, module)) for name in sorted(arrows()[module])]
    return [module, *max(below, key=len, default=[])]


def test_no_circle_and_no_long_chain_of_imports() -> None:
    assert len(longest_chain("__main__")) <= MOST_IN_A_CHAIN


MOST_IN_A_CHAIN = 10


def is_pythons_own(library: str) -> bool:
    spec = importlib.util.find_spec(library)
    is_ours = (BACKEND.parent / library).exists()
    return spec is not None and not is_ours and "site-packages" not in (spec.origin or "")


def test_every_library_has_its_place() -> None:
    others = [(importer, name) for importer, name in imports() if not name.startswith("backend")]
    for importer, name in others:
        library = name.split(".")[0]
        is_home = {importer, part(importer)} & HOMES.get(library, set())
        is_known = library in HOMES
        assert is_home or (not is_known and is_pythons_own(library)), f"{importer}: {name}"
    assert set(HOMES) <= {name.split(".")[0] for _, name in others}
