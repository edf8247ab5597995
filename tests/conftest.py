"""Hooks for all tests: a test without its real program is skipped by name, or fails."""

from __future__ import annotations

import gc
import importlib.util
import logging
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Iterator

import pytest
from xdist.scheduler import LoadFileScheduling

from backend.store import database

# Some programs come with a package; Debian keeps those of PostgreSQL's server off the PATH.
_PLACES = [
    str(Path(sys.executable).parent),
    os.environ["PATH"],
    *map(str, Path("/usr/lib/postgresql").glob("*/bin")),
]


def is_there(part: str) -> bool:
    """Whether there is a program, or a Python package, of a name."""
    found = shutil.which(part, path=os.pathsep.join(_PLACES))
    # A name with a dot is a program: looking for its package would import the part before the dot.
    return found is not None or ("." not in part and importlib.util.find_spec(part) is not None)


def pytest_configure(config: pytest.Config) -> None:
    # pytest-xdist starts with the files that have most tests; the slow ones have few.
    config.option.loadscopereorder = False


class _Scheduling(LoadFileScheduling):
    """Gives one process a whole file, or all files with containers: they share an engine.

    The tests of one file take longest together and share nothing: any process takes the next one.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        if file == "tests/e2e/test_ntfy.py":
            return nodeid
        return "tests/containers" if file.startswith("tests/containers/") else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Scheduling | None:  # noqa: ANN401
    return _Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_finish() -> None:
    # All tests stay until the end: the garbage collector needn't look through them so often.
    # gc.freeze() would hide the generators of random numbers from hypothesis.
    gc.set_threshold(20_000, 20, 20)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("real"):
        missing = [part for part in marker.args if not is_there(part)]
        if missing and os.environ.get("REQUIRE_REAL_PARTS") == "1":
            pytest.fail(f"needs {', '.join(missing)}, and REQUIRE_REAL_PARTS=1 is set")
        if missing:
            pytest.skip(f"needs {', '.join(missing)}")


@pytest.fixture(autouse=True, scope="session")
def _stores_are_not_flushed() -> Iterator[None]:
    # No commit waits for the disk, as no test cuts the power.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "_SYNCHRONOUS", {True: "OFF", False: "OFF"})
        yield


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    """Remove the log handlers that a test has set up: the test has closed their output."""
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if type(handler.formatter).__module__ == "backend.server.logs":
            root.removeHandler(handler)
            handler.close()
