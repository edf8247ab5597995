"""The workflows match the README and have only the permissions they need."""

from __future__ import annotations

import re
from typing import Any, Iterator, Mapping

import pytest
import yaml

from tests.shipping.tools import ROOT, WORKFLOWS

SECRETS = ("DOCKERHUB_USERNAME", "DOCKERHUB_TOKEN", "IMAGE_NAME_BACKEND", "IMAGE_NAME_CLIENT")
CI, PUBLISH = WORKFLOWS


def text_of(file: str) -> str:
    return (ROOT / file).read_text(encoding="utf-8")


def load(file: str) -> Mapping[Any, Any]:
    content: Mapping[Any, Any] = yaml.safe_load(text_of(file))
    return content


def steps(file: str) -> Iterator[Mapping[str, Any]]:
    for job in load(file)["jobs"].values():
        yield from job["steps"]


@pytest.mark.parametrize("file", WORKFLOWS)
def test_every_action_is_pinned_by_commit_and_version(file: str) -> None:
    uses = re.findall(r"uses: (\S+)(.*)$", text_of(file), re.MULTILINE)
    assert len(uses) >= 4
    for action, comment in uses:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), action


@pytest.mark.parametrize("file", WORKFLOWS)
def test_a_workflow_has_only_read_permissions(file: str) -> None:
    assert load(file)["permissions"] == {"contents": "read"}
    assert all("permissions" not in job for job in load(file)["jobs"].values())
    checkouts = [step for step in steps(file) if "actions/checkout" in step.get("uses", "")]
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_tests_run_on_every_python_from_the_oldest_on() -> None:
    versions = load(CI)["jobs"]["tests"]["strategy"]["matrix"]["python"]
    oldest = re.search(r'requires-python = ">=([\d.]+)"', text_of("pyproject.toml"))
    assert oldest is not None
    assert versions[0] == oldest[1]
    minors = [int(version.split(".")[1]) for version in versions]
    assert minors == list(range(minors[0], minors[-1] + 1))
    assert minors[-1] >= 14


def test_ci_tests_lowest_versions_on_old_and_current_python() -> None:
    matrix = load(CI)["jobs"]["tests"]["strategy"]["matrix"]
    assert matrix["versions"] == ["newest"]
    lowest = [one["python"] for one in matrix["include"] if one["versions"] == "lowest"]
    assert lowest == [matrix["python"][0], "3.13"]
    (test,) = (step for step in steps(CI) if step.get("run", "").startswith("make test PY"))
    assert test["env"] == {"VERSIONS": "${{ matrix.versions }}"}


def test_images_are_published_only_for_a_release() -> None:
    assert load(PUBLISH)[True] == {"release": {"types": ["published"]}}  # YAML parses `on` as true


def test_publishing_uses_only_the_four_documented_secrets() -> None:
    used = set(re.findall(r"secrets\.(\w+)", text_of(PUBLISH)))
    assert used == set(SECRETS)
    assert re.findall(r"secrets\.(\w+)", text_of(CI)) == []
    readme = text_of("README.md")
    assert [name for name in SECRETS if f"`{name}`" not in readme] == []


def test_both_images_are_published_for_three_platforms_with_their_origin() -> None:
    (job,) = load(PUBLISH)["jobs"].values()
    assert job["strategy"]["matrix"]["folder"] == ["backend", "client"]
    (push,) = (step["with"] for step in job["steps"] if "build-push" in step.get("uses", ""))
    assert push["platforms"] == "linux/amd64,linux/arm64,linux/arm/v7"
    assert (push["provenance"], push["sbom"]) == ("mode=max", True)


def test_no_expression_gets_into_a_shell() -> None:
    for file in WORKFLOWS:
        assert [step for step in steps(file) if "${{" in step.get("run", "")] == []
