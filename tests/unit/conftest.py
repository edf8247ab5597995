"""Unit tests open no sockets: a test that needs one belongs in another folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Iterator

import pytest

from backend.auth import keys
from backend.store import Store
from tests.stores import empty_store

from .fakes import Clock, FakeCloudApi, RecordingSink

# Transports and listeners can only be tested with a socket.
_WITH_SOCKETS = (
    "hetzner/test_api.py",
    "hetzner/test_hostile_answers.py",
    "notify/test_hostile_answers.py",
    "notify/test_ntfy.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder, _, file = item.nodeid.partition("::")[0].partition("/unit/")
        if folder == "tests" and file not in _WITH_SOCKETS:
            item.add_marker(pytest.mark.disable_socket)


@pytest.fixture
def short_wait_for_edits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the wait for the end of an edit in tests that aren't about edits."""
    monkeypatch.setattr(keys, "GRACE_SECONDS", 0.05)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sink() -> RecordingSink:
    return RecordingSink()


@pytest.fixture
def cloud() -> FakeCloudApi:
    return FakeCloudApi("example.com")


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Return the URL of a prepared, empty store."""
    return f"sqlite:///{shutil.copy(empty_store(), tmp_path / 'store.db')}"


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    store = Store(url)
    yield store
    store.close()


@pytest.fixture
def other_store(url: str) -> Iterator[Store]:
    """A second store on the same database, as another process has it."""
    store = Store(url)
    yield store
    store.close()
