"""What all tests share: real programs are there, or the test says which one is missing."""

import importlib.util
import os
import shutil
from pathlib import Path

import pytest

# Debian keeps the programs of PostgreSQL's server off the PATH.
_PLACES = [os.environ["PATH"], *map(str, Path("/usr/lib/postgresql").glob("*/bin"))]


def is_there(part: str) -> bool:
    """Whether there is a program, or a Python package, of a name."""
    found = shutil.which(part, path=os.pathsep.join(_PLACES))
    return found is not None or importlib.util.find_spec(part) is not None


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("real"):
        missing = [part for part in marker.args if not is_there(part)]
        if missing and os.environ.get("REQUIRE_REAL_PARTS") == "1":
            pytest.fail(f"needs {', '.join(missing)}, and REQUIRE_REAL_PARTS=1 is set")
        if missing:
            pytest.skip(f"needs {', '.join(missing)}")
