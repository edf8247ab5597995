"""docs/sandbox.md names every option and route, and its examples are accepted."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from sandbox import Sandbox
from sandbox.control_api import ORDERS, control_api
from sandbox.hetzner import create_app

TEXT = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text(encoding="utf-8")
ORDERED = re.findall(r"^curl (.*/_sandbox/.*)$", TEXT, re.MULTILINE)


def test_every_option_is_explained() -> None:
    table = TEXT.partition("## Options")[2].partition("## Control API")[0]
    explained = re.findall(r"`(--[a-z-]+)", table)
    command = [sys.executable, "-m", "sandbox", "--help"]
    helped = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert set(explained) == set(re.findall("--[a-z-]+", helped.stdout)) - {"--help", "--version"}


def test_every_control_route_is_explained(sandbox: Sandbox) -> None:
    app = create_app(sandbox.zones, sandbox.guard, control_api(sandbox))
    there = [
        f"{method} {rule.rule}"
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule.startswith("/_sandbox")
    ]
    assert sorted(re.findall(r"^\| `([A-Z]+ /_sandbox/.*?)`", TEXT, re.MULTILINE)) == sorted(there)


def test_every_field_of_an_order_is_explained() -> None:
    fields = {field for order in ORDERS.values() for field in order}
    section = TEXT.partition("## Control API")[2]
    assert [field for field in sorted(fields) if f"`{field}`" not in section] == []


def test_there_are_orders_to_copy() -> None:
    assert {line.rpartition("/")[2] for line in ORDERED} == {*ORDERS, "reset"}


@pytest.mark.parametrize("line", ORDERED)
def test_an_order_to_copy_is_understood(sandbox: Sandbox, line: str) -> None:
    words = shlex.split(line)
    url = words.pop().replace("8090", str(sandbox.http_port))
    answer = requests.request(method_of(words), url, data=body_of(words), timeout=10)
    assert (answer.status_code, answer.json()) == (200, {"done": True})


def method_of(words: list[str]) -> str:
    """Return the method that curl uses."""
    return words[words.index("-X") + 1] if "-X" in words else "POST"


def body_of(words: list[str]) -> str:
    return words[words.index("-d") + 1] if "-d" in words else ""
