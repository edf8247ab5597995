"""The tags of a release's images: the workflow step, run as GitHub runs it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.shipping.test_workflows import PUBLISH, steps


def tags(folder: Path, **variables: str) -> list[str]:
    (script,) = (step["run"] for step in steps(PUBLISH) if step.get("id") == "tags")
    output = folder / "output"
    given = {"RELEASE": "v1.2.3", "PRERELEASE": "false", "FOLDER": "backend"}
    given = {**given, "BACKEND": "nmbit/backend", "CLIENT": "nmbit/client", **variables}
    environ = {"PATH": "/usr/bin:/bin", "GITHUB_OUTPUT": str(output), **given}
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    subprocess.run(command, env=environ, check=True, capture_output=True)
    return output.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("release", ["v1.2.3", "1.2.3"])
def test_a_release_is_tagged_with_its_version_and_latest(tmp_path: Path, release: str) -> None:
    assert tags(tmp_path, RELEASE=release) == [
        "version=1.2.3",
        "tags<<END",
        "nmbit/backend:1.2.3",
        "nmbit/backend:latest",
        "END",
    ]


def test_the_clients_image_has_its_own_name(tmp_path: Path) -> None:
    assert "nmbit/client:latest" in tags(tmp_path, FOLDER="client")


def test_a_pre_release_is_not_the_latest(tmp_path: Path) -> None:
    assert tags(tmp_path, RELEASE="v2.0.0-rc.1", PRERELEASE="true")[2:] == [
        "nmbit/backend:2.0.0-rc.1",
        "END",
    ]


def test_without_its_name_an_image_is_not_published(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        tags(tmp_path, BACKEND="")
    assert b"IMAGE_NAME_BACKEND" in caught.value.stdout
