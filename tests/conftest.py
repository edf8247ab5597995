"""What all tests share: real programs are there, or the test says which one is missing."""

import os
import shutil

import pytest


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("real"):
        missing = [program for program in marker.args if shutil.which(program) is None]
        if missing and os.environ.get("REQUIRE_REAL_PARTS") == "1":
            pytest.fail(f"needs {', '.join(missing)}, and REQUIRE_REAL_PARTS=1 is set")
        if missing:
            pytest.skip(f"needs {', '.join(missing)}")
