"""The images, built once from folders that contain secrets, as an operator's folders do."""

from __future__ import annotations

import os
import shutil
from typing import Iterator, NamedTuple

import pytest

from tests.containers.engine import ROOT, Engine

BACKEND = "docker.io/nmbit/hetzner-dyndns-backend:latest"
CLIENT = "docker.io/nmbit/hetzner-dyndns-client:latest"
SECRET = "never-in-an-image-0123456789"


class Images(NamedTuple):
    backend: str
    client: str


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith("tests/containers/"):
            item.add_marker(pytest.mark.real)


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    problem = Engine.problem()
    if problem and os.environ.get("REQUIRE_REAL_PARTS") == "1":
        pytest.fail(f"{problem}, and REQUIRE_REAL_PARTS=1 is set")
    if problem:
        pytest.skip(problem)
    engine = Engine(tmp_path_factory.mktemp("engine"))
    engine.start()
    yield engine
    engine.stop()


@pytest.fixture(scope="session")
def images(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Images:
    """Build both images from their Dockerfiles."""
    folder = tmp_path_factory.mktemp("build")
    images = Images(BACKEND, CLIENT)
    for name in images._fields:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        for secret in (".secrets", "pre-shared-key", "hetzner-dyndns.db", ".env", "backend.log"):
            (folder / name / secret).write_text(SECRET)
    (folder / "backend" / "store" / "copy.db").write_text(SECRET)
    for name, tag in images._asdict().items():
        engine.build(folder / name, tag)
    return images
