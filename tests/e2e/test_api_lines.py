"""The commands of docs/api.md return the documented answers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.e2e.processes import Backend, Hetzner, run
from tests.meta.documents import DOCUMENTS

TEXT = DOCUMENTS["docs/api.md"]
DOCUMENTED = "home.example.com"

pytestmark = pytest.mark.real("curl")


def run_command(command: str, backend: Backend, host: str, folder: Path) -> str:
    """Run a command of the document; return the answer."""
    for old, new in {
        "https://your-backend.example.com": backend.url,
        "<key>": backend.key_of(host),
        DOCUMENTED: host,
    }.items():
        command = command.replace(old, new)
    ended = run(["sh", "-c", command], folder)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_document_can_be_fetched(backend: Backend, host: str, folder: Path) -> None:
    command = re.findall(r"```sh\n(curl .*openapi.json)\n```", TEXT)[0]
    assert json.loads(run_command(command, backend, host, folder))["openapi"] == "3.1.0"


def test_an_address_is_set_and_removed(
    backend: Backend, hetzner: Hetzner, host: str, folder: Path
) -> None:
    pairs = re.findall(r"```sh\n(curl -X .*?)\n```\n\n```json\n(.*?)\n```", TEXT, re.DOTALL)
    (post, updated), (post_both, both), (delete, deleted) = pairs
    backend.update(host, "198.51.100.1")
    answer = json.loads(run_command(post, backend, host, folder))
    assert answer == {**json.loads(updated), "fqdn": host}
    hetzner.expect(host, answer["ip"])
    backend.update(host, "198.51.100.1")
    answer = json.loads(run_command(post_both, backend, host, folder))
    assert answer == {**json.loads(both), "fqdn": host}
    for one in answer["records"]:
        hetzner.expect(host, one["ip"], kind=one["type"])
    assert json.loads(run_command(delete, backend, host, folder)) == {
        **json.loads(deleted),
        "fqdn": host,
    }
    hetzner.expect(host, kind="AAAA")
    hetzner.expect(host, answer["ip"])
