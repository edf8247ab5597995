"""The content of the images."""

from __future__ import annotations

import pytest

from tests.containers.conftest import SECRET, Images
from tests.containers.engine import BASE, Engine, in_git

# Files for the build and start of the image, which must not be in it.
FOR_PEOPLE = {".dockerignore", ".secrets.example", "Dockerfile", "docker-compose.yml"}
FOR_PEOPLE |= {"requirements.txt", "requirements-postgresql.txt", "requirements-apprise.txt"}
FOR_PEOPLE |= {"hetzner-dyndns.service"}


@pytest.fixture(params=["backend", "client"])
def image(request: pytest.FixtureRequest, images: Images) -> str:
    tag: str = getattr(images, request.param)
    return tag


def sh(engine: Engine, image: str, script: str, *options: str) -> str:
    return engine.run("run", "--rm", "--entrypoint", "sh", *options, image, "-c", script)


def test_the_backend_image_contains_the_programs_files_only(engine: Engine, images: Images) -> None:
    found = sh(engine, images.backend, "cd /app/backend && find . -type f ! -name '*.pyc'")
    assert sorted(line[2:] for line in found.splitlines()) == [
        name for name in in_git("backend") if name not in FOR_PEOPLE
    ]


def test_no_secret_gets_in_from_the_folder(engine: Engine, image: str) -> None:
    look = f"grep -rl {SECRET} / --exclude-dir=proc --exclude-dir=sys || :"
    assert sh(engine, image, look, "--user", "0") == ""


def test_the_container_user_owns_only_the_data(engine: Engine, image: str) -> None:
    assert sh(engine, image, "id -u; id -g").split() == ["1000", "1000"]
    owned = sh(engine, image, "find / -xdev -user 1000", "--user", "0")
    assert owned.split() == (["/data"] if "backend" in image else [])


def test_the_images_contain_no_build_tools(engine: Engine, image: str) -> None:
    tools = "for tool in gcc cc make git curl uv; do command -v $tool; done; :"
    assert sh(engine, image, tools) == ""
    assert sh(engine, image, "find /app -name '*.dist-info' -path '*/pip-*'") == ""


def test_every_module_is_compiled_beforehand(engine: Engine, image: str) -> None:
    missing = (
        "for file in $(find /app -name '*.py'); do "
        "ls $(dirname $file)/__pycache__/$(basename $file .py).cpython-313.pyc >/dev/null 2>&1 "
        "|| echo $file; done"
    )
    assert sh(engine, image, missing) == ""


def test_the_packages_are_those_of_the_lock(engine: Engine, image: str) -> None:
    found = sh(engine, image, "ls -d /app/*.dist-info")
    names = [path.split("/")[-1].split("-")[0] for path in found.split()]
    assert len(names) == len(set(names))
    assert "requests" in names
    assert ("psycopg_binary" in names) is ("backend" in image)


def test_the_postgresql_driver_works(engine: Engine, images: Images) -> None:
    script = "import psycopg; print(psycopg.pq.__impl__)"
    ran = engine.run("run", "--rm", "--entrypoint", "python", images.backend, "-c", script)
    assert ran == "binary"


def test_image_labels_name_the_program_and_its_source(engine: Engine, image: str) -> None:
    labels = engine.inspect(image)["Config"]["Labels"]
    labels = {name.rpartition(".")[2]: value for name, value in labels.items()}
    assert labels["licenses"] == "MIT"
    assert labels["source"] == "https://github.com/nmbit/hetzner-dyndns"
    assert labels["title"] in ("hetzner-dyndns backend", "hetzner-dyndns client")
    assert labels["version"]


def test_the_image_size_is_printed(
    engine: Engine, images: Images, capsys: pytest.CaptureFixture[str]
) -> None:
    base = int(engine.inspect(BASE)["Size"])
    sizes = {
        name: int(engine.inspect(tag)["Size"]) - base for name, tag in images._asdict().items()
    }
    with capsys.disabled():
        text = ", ".join(f"{name} +{size / 1e6:.0f} MB" for name, size in sizes.items())
        print(f"\non top of python:3.13-slim ({base / 1e6:.0f} MB): {text}")
    assert sizes["client"] < sizes["backend"]
