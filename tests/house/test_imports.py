"""The arrows of docs/architecture.md: imports point down, and a library has one place."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from typing import Iterator, Tuple

BACKEND = Path(__file__).parents[2] / "backend"

# From the ground up: modules at the top of `backend`, and packages, which stand for all in them.
LAYERS = {
    "ground": {
        "__init__",
        "model",
        "prefixes",
        "errors",
        "events",
        "moments",
        "plural",
        "bearer",
        "outgoing",
    },
    "workers": {"workers"},
    "store": {"store"},
    "hetzner": {"hetzner"},
    "reporting": {"reporting"},
    "watching": {"watching"},
    "access": {"access"},
    "publishing": {"publishing"},
    "routers": {"routers"},
    "operations": {"operations"},
    "web": {"web"},
    "settings": {"settings", "variables"},
    "checks": {"checks"},
    "serving": {"serving"},
    "commands": {"commands", "workbench", "cli", "__main__"},
}
RANKS = {module: rank for rank, modules in enumerate(LAYERS.values()) for module in modules}
# Who may import what isn't Python's own: modules, or packages with all their modules.
HOMES = {
    "idna": {"model"},
    "requests": {"bearer", "outgoing", "hetzner.api", "reporting.ntfy"},
    "urllib3": {"outgoing", "hetzner.api", "reporting.ntfy"},
    "sqlalchemy": {"store"},
    "flask": {"web"},
    "werkzeug": {"web"},
    "markupsafe": {"web"},
    "gunicorn": {"serving"},
    "prometheus_client": {"workers.meters", "operations.gauges"},
}
# `services` builds the application and `server` hands it on: they name its type.
TYPES = {("serving.services", "flask.Flask"), ("serving.server", "flask.Flask")}


def imports() -> Iterator[Tuple[str, str]]:
    """Every import of the backend: in which module, and of what."""
    for path in sorted(BACKEND.rglob("*.py")):
        importer = ".".join(path.relative_to(BACKEND).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((importer, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: relative"
                yield from ((importer, f"{node.module}.{alias.name}") for alias in node.names)


def top(importer: str) -> str:
    """The package a module is in, or the module itself."""
    return importer.split(".", maxsplit=1)[0]


def imported(name: str) -> str:
    """The module or package of ours that an import names; `__init__` for the package itself."""
    first = name.split(".")[1]
    return first if (BACKEND / first).is_dir() or (BACKEND / f"{first}.py").exists() else "__init__"


def is_at_home(importer: str, name: str) -> bool:
    homes = HOMES.get(name.split(".", maxsplit=1)[0], ())
    return importer in homes or top(importer) in homes or (importer, name) in TYPES


def is_pythons_own(library: str) -> bool:
    spec = importlib.util.find_spec(library)
    is_ours = (BACKEND.parent / library).exists()
    return spec is not None and not is_ours and "site-packages" not in (spec.origin or "")


def test_every_module_has_its_layer() -> None:
    modules = {path.stem for path in BACKEND.glob("*.py")}
    packages = {path.parent.name for path in BACKEND.glob("*/__init__.py")}
    assert modules | packages == set(RANKS)


def test_imports_point_down_and_nobody_imports_the_start() -> None:
    ours = [(importer, name) for importer, name in imports() if name.startswith("backend")]
    assert len(ours) > 50
    for importer, name in ours:
        module = imported(name)
        assert RANKS[module] <= RANKS[top(importer)], f"{importer} imports {name}"
        assert module != "__main__", f"{importer} imports {name}"


def test_every_library_has_its_place() -> None:
    others = [(importer, name) for importer, name in imports() if not name.startswith("backend")]
    for importer, name in others:
        library = name.split(".")[0]
        is_known = library in HOMES
        assert is_at_home(importer, name) or (not is_known and is_pythons_own(library)), (
            f"{importer}: {name}"
        )
    assert set(HOMES) <= {name.split(".")[0] for _, name in others}
