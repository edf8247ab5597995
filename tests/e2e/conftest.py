from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Callable, Iterator

import pytest

from backend import cli
from backend.server import gunicorn
from tests.e2e.processes import HOSTS, Backend, Hetzner

# Some tests name the first and the last hosts themselves.
_names = itertools.cycle(HOSTS[4:-4])


@pytest.fixture(scope="module")
def hetzner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hetzner]:
    with Hetzner(tmp_path_factory.mktemp("hetzner")) as hetzner:
        yield hetzner


@pytest.fixture(scope="module")
def backend(hetzner: Hetzner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    with Backend(tmp_path_factory.mktemp("backend"), hetzner) as backend:
        yield backend


@pytest.fixture
def refused_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., str]]:
    """Start the service in this process with an invalid set-up; return its output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gunicorn.resource, "setrlimit", lambda *_: None)  # would outlast the test
    umask = os.umask(0o077)

    def start(**environ: str) -> str:
        with pytest.raises(SystemExit) as ended:
            cli.run([], environ)
        assert ended.value.code == 1
        output = capfd.readouterr()
        return output.out + output.err

    yield start
    os.umask(umask)


@pytest.fixture
def host() -> str:
    """Return a registered host that no other test of the module uses."""
    return next(_names)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the home directory of a test's client."""
    return tmp_path
