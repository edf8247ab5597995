"""The example with Caddy: who really calls gets through, and what callers claim doesn't."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Iterator

import pytest
import requests

from tests.e2e.processes import Backend, environment, free_port, run, until

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "caddy"

pytestmark = pytest.mark.real("caddy")


@pytest.fixture
def caddy(backend: Backend, folder: Path) -> Iterator[str]:
    """Caddy with the example's file, without a certificate for want of a name."""
    url = f"http://127.0.0.1:{free_port()}"
    config = folder / "Caddyfile"
    text = (EXAMPLE / "Caddyfile").read_text(encoding="utf-8")
    config.write_text("{\n\tadmin off\n}\n" + text, encoding="utf-8")
    names = {"DOMAIN": url, "BACKEND": f"127.0.0.1:{backend.port}"}
    with (folder / "caddy.log").open("wb") as log:
        process = subprocess.Popen(
            ["caddy", "run", "--config", str(config), "--adapter", "caddyfile"],
            env=environment(folder, **names),
            stdout=log,
            stderr=log,
        )

    def answers() -> bool:
        try:
            return backend.session.get(f"{url}/healthz", timeout=5).ok
        except requests.ConnectionError:
            return False

    until(answers, "caddy", lambda: (folder / "caddy.log").read_text(encoding="utf-8"))
    yield url
    process.terminate()
    process.wait(30)


@pytest.mark.parametrize("header", ["X-Real-Ip", "X-Forwarded-For", "Forwarded"])
def test_the_backend_sees_who_really_calls(backend: Backend, caddy: str, header: str) -> None:
    forged = {header: "203.0.113.9"}
    assert backend.session.get(f"{caddy}/ip", headers=forged, timeout=20).text == "127.0.0.1\n"


def test_what_a_name_gets_is_tls_by_itself(folder: Path) -> None:
    names = {"DOMAIN": "dyndns.example.com", "BACKEND": "127.0.0.1:8080"}
    command = ["caddy", "validate", "--config", str(EXAMPLE / "Caddyfile")]
    ended = run([*command, "--adapter", "caddyfile"], folder, **names)
    assert ended.returncode == 0, ended.stderr
    assert "enabling automatic HTTP->HTTPS redirects" in ended.stderr
