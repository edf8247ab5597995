"""The arrows of docs/architecture.md: imports point down, and a library has one place."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from typing import Iterator, Tuple

BACKEND = Path(__file__).parents[2] / "backend"

# From the ground up. A package stands for its modules.
LAYERS = (
    {
        "__init__",
        "allowance",
        "arrival",
        "credentials",
        "model",
        "errors",
        "events",
        "holders",
        "moments",
        "slots",
        "once",
        "prefixes",
    },
    {
        "bearer",
        "cloud_answers",
        "cloud_errors",
        "cloud_api",
        "quota",
        "rrsets",
        "hetzner",
        "ntfy",
        "outbox",
        "meters",
        "measured",
        "inspection",
    },
    {"key_lines", "keys", "zones", "store", "turns"},
    {
        "alarm",
        "rejections",
        "failures",
        "gate",
        "pauses",
        "changes",
        "addressing",
        "routers",
        "host_parts",
        "publisher",
        "updater",
        "sightings",
        "reporter",
        "loops",
    }
    | {"reconciler", "verifier", "watcher", "status", "overview", "actions"}
    | {"health", "mutes", "survey", "timeline", "gauges"},
    {"web"},
    {
        "variables",
        "settings",
        "logs",
        "services",
        "worker",
        "server",
        "commands",
        "cli",
        "__main__",
        "workbench",
        "frontdesk",
        "checks",
        "host_checks",
    },
)
# Who may import what isn't Python's own.
HOMES = {
    "idna": {"model"},
    "requests": {"bearer", "cloud_api", "ntfy"},
    "urllib3": {"cloud_api", "ntfy"},
    "sqlalchemy": {"store"},
    "flask": {"web"},
    "werkzeug": {"web"},
    "markupsafe": {"web"},
    "gunicorn": {"server", "worker"},
    "prometheus_client": {"meters", "gauges"},
}
# `services` builds the application and `server` hands it on: they name its type.
TYPES = {("services", "flask.Flask"), ("server", "flask.Flask")}


def imports() -> Iterator[Tuple[str, str]]:
    """Every import of the backend: in which module or package, and of what."""
    for path in sorted(BACKEND.rglob("*.py")):
        importer = path.relative_to(BACKEND).with_suffix("").parts[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((importer, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: relative"
                yield from ((importer, f"{node.module}.{alias.name}") for alias in node.names)


def layer(module: str) -> int:
    return next(rank for rank, modules in enumerate(LAYERS) if module in modules)


def imported_module(name: str) -> str:
    """The module or package of ours that an import names; `__init__` for the package itself."""
    first = name.split(".")[1]
    return first if (BACKEND / first).is_dir() or (BACKEND / f"{first}.py").exists() else "__init__"


def is_pythons_own(library: str) -> bool:
    spec = importlib.util.find_spec(library)
    return spec is not None and "site-packages" not in (spec.origin or "")


def test_every_module_has_its_layer() -> None:
    modules = {path.stem for path in BACKEND.glob("*.py")}
    packages = {path.parent.name for path in BACKEND.glob("*/__init__.py")}
    assert modules | packages <= set().union(*LAYERS)


def test_imports_point_down_and_nobody_imports_the_start() -> None:
    ours = [(importer, name) for importer, name in imports() if name.startswith("backend")]
    assert len(ours) > 50
    for importer, name in ours:
        module = imported_module(name)
        assert layer(module) <= layer(importer), f"{importer} imports {name}"
        assert module != "__main__", f"{importer} imports {name}"


def test_every_library_has_its_place() -> None:
    others = [(importer, name) for importer, name in imports() if not name.startswith("backend")]
    for importer, name in others:
        library = name.split(".")[0]
        at_home = importer in HOMES.get(library, ()) or (importer, name) in TYPES
        assert at_home or (library not in HOMES and is_pythons_own(library)), f"{importer}: {name}"
    assert set(HOMES) <= {name.split(".")[0] for _, name in others}
