"""A container that can't start logs the reason and a hint in one line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable, NamedTuple

import pytest

from tests.containers.conftest import Images
from tests.containers.engine import Engine

HARDENED = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "all"]
HARDENED += ["--security-opt", "no-new-privileges", "--memory", "256m"]
SETTINGS = ["--env", f"HETZNER_TOKEN={'t' * 64}", "--env", "REGISTERED_FQDNS=host.example.com"]

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root: files get other owners")


class Problem(NamedTuple):
    prepare: Callable[[Path], object]
    hint: str
    mount: str = "/pre-shared-key"


def wrong_owner(path: Path) -> None:
    path.touch(mode=0o600)


def wrong_folder(path: Path) -> None:
    path.mkdir(mode=0o700)


PROBLEMS = {
    "a mount that Docker made a directory": Problem(
        Path.mkdir, "is a directory (Docker makes one when a mounted file is missing): remove it"
    ),
    "a key file of another owner": Problem(wrong_owner, "`chown 1000 /pre-shared-key`"),
    "a data folder of another owner": Problem(
        wrong_folder, "as root, type `chown 1000 /data ", "/data"
    ),
}


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS.keys())
def test_one_line_names_the_problem_and_the_hint(
    engine: Engine, images: Images, tmp_path: Path, problem: Problem
) -> None:
    key_file = tmp_path / "pre-shared-key"
    mounted = tmp_path / "mounted"
    problem.prepare(mounted)
    volumes = ["--volume", f"{mounted}:{problem.mount}"]
    if problem.mount != "/pre-shared-key":
        key_file.touch(mode=0o600)
        os.chown(key_file, 1000, 1000)
        volumes += ["--volume", f"{key_file}:/pre-shared-key"]
    ended = engine.attempt("run", "--rm", *HARDENED, *SETTINGS, *volumes, images.backend)
    assert ended.returncode == 1
    lines = [line for line in ended.stderr.splitlines() if line.startswith("hetzner-dyndns can't")]
    assert len(lines) == 1, ended.stderr
    assert problem.hint in lines[0]
    assert "Traceback" not in ended.stderr + ended.stdout


def test_a_log_file_outside_the_volume_is_refused_with_a_hint(
    engine: Engine, images: Images
) -> None:
    command = ["run", "--rm", *HARDENED, *SETTINGS, "--env", "LOG_FILE=/logs/backend.log"]
    ended = engine.attempt(*command, images.backend)
    assert ended.returncode == 1
    lines = [line for line in ended.stderr.splitlines() if line.startswith("hetzner-dyndns can't")]
    assert len(lines) == 1, ended.stderr
    assert "LOG_FILE: can't write /logs/backend.log (Read-only file system)" in lines[0]
    assert "name a file in /data that this user (uid 1000) may write" in lines[0]


def test_the_image_takes_empty_settings_as_absent(
    engine: Engine, images: Images, tmp_path: Path
) -> None:
    (tmp_path / "url").write_text("sqlite:////data/other.db\n")
    mount = ["--volume", f"{tmp_path / 'url'}:/url:ro"]
    empty = ["--env", "STATE_URL=", "--env", "PRE_SHARED_KEY_FILE="]
    for options, file in {
        (): "hetzner-dyndns.db",
        (*empty,): "hetzner-dyndns.db",
        (*mount, "--env", "STATE_URL_FILE=/url"): "/data/other.db",
        (*mount, *empty, "--env", "STATE_URL_FILE=/url"): "/data/other.db",
    }.items():
        network = ["--network", "none"]
        command = ["run", "--rm", *HARDENED, *network, *SETTINGS, *options, images.backend, "check"]
        checked = engine.attempt(*command).stdout
        assert f"{file} doesn't exist yet." in checked, checked


def test_a_client_without_settings_names_the_missing_one(engine: Engine, images: Images) -> None:
    ended = engine.attempt("run", "--rm", *HARDENED, images.client)
    assert ended.returncode == 2
    assert "BACKEND_URL is not set" in ended.stderr


def test_commands_can_be_given_to_the_images(engine: Engine, images: Images) -> None:
    assert "hetzner-dyndns" in engine.run("run", "--rm", *HARDENED, images.backend, "--version")
    assert engine.run("run", "--rm", *HARDENED, images.client, "--version")
