"""The program as a user or a container starts it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Callable, Iterator, Tuple

import pytest

from client.update_dns import __version__
from tests.hostile import Servers, redirect, sized

from .conftest import KEY
from .fake_backend import FakeBackend, bad, good

Start = Callable[..., "subprocess.Popen[str]"]
Once = Callable[..., Tuple[int, str, str]]

PROGRAM = Path(__file__).parents[2] / "client" / "update_dns.py"
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} "


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start the program outside the repository with only these variables."""
    running: list[subprocess.Popen[str]] = []

    def start(*args: str, **variables: str) -> subprocess.Popen[str]:
        keep = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
        process = subprocess.Popen(
            [sys.executable, "-W", "error", str(PROGRAM), *args],
            env={**keep, **variables},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def once(start: Start) -> Once:
    """Run the program; return exit status, stdout and stderr."""

    def once(*args: str, **variables: str) -> tuple[int, str, str]:
        process = start(*args, **{"INTERVAL": "0", **variables})
        out, err = process.communicate(timeout=30)
        assert KEY not in out + err
        return process.returncode, out, err

    return once


def test_once_and_all_well_exits_0(backend: FakeBackend, once: Once) -> None:
    backend.set_answers(good("198.51.100.7", "created"))
    status, out, err = once(backend.url, "host.example.com", PRE_SHARED_KEY=KEY)
    assert (status, err) == (0, "")
    assert re.fullmatch(STAMP + r"INFO host\.example\.com A: 198\.51\.100\.7 \(created\)\n", out)


def test_once_with_a_failure_exits_1(backend: FakeBackend, once: Once) -> None:
    backend.set_answers(good("198.51.100.7"), bad(404, "zone_not_found"))
    both = {"BACKEND_URL": backend.url, "FQDN": "a.example.com,b.example.net"}
    status, out, err = once(**both, PRE_SHARED_KEY=KEY)
    assert (status, err) == (1, "")
    assert re.search("WARNING b.example.net A: the backend answered 404: This is why", out)


@pytest.mark.parametrize(
    ("args", "logged"),
    [
        ([], "update_dns.py: BACKEND_URL is not set: set it to the URL of the backend\n"),
        (["u", "f", "i", KEY], "update_dns.py: unknown arguments: only <backend_url> <fqdn> [ip]"),
        (["-" + KEY], "update_dns.py: unknown arguments: only <backend_url> <fqdn> [ip]"),
        (["https://d.example.com", "host.example.com"], "update_dns.py: PRE_SHARED_KEY is not set"),
    ],
)
def test_unusable_settings_exit_2_with_one_line(once: Once, args: list[str], logged: str) -> None:
    status, out, err = once(*args)
    assert (status, out) == (2, "")
    assert err.startswith(logged)
    assert err.count("\n") == 1


def test_a_key_in_a_file_is_not_visible(backend: FakeBackend, once: Once, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"# keys\nhost.example.com {KEY}\n")
    backend.set_answers(good("198.51.100.7"))
    status, _, _ = once(backend.url, "host.example.com", PRE_SHARED_KEY_FILE="keys")
    assert status == 0
    assert backend.requests[0].key == KEY


def test_output_that_cannot_show_a_letter_still_gets_the_line(
    backend: FakeBackend, once: Once
) -> None:
    backend.set_answers(bad(503, "unavailable", "Zu früh."))
    variables = {"PRE_SHARED_KEY": KEY, "PYTHONIOENCODING": "ascii"}
    status, out, err = once(backend.url, "host.example.com", **variables)
    assert (status, err) == (1, "")
    assert "Zu fr\\xfch" in out


def test_sigterm_ends_the_sleeping_loop_with_0(backend: FakeBackend, start: Start) -> None:
    backend.set_answers(good("198.51.100.7"))
    process = start(backend.url, "host.example.com", PRE_SHARED_KEY=KEY, INTERVAL="3600")
    assert process.stdout is not None
    beginning = [process.stdout.readline() for _ in range(2)]
    assert "INFO updating host.example.com A every 3600 s at " in beginning[0]
    assert "INFO host.example.com A: 198.51.100.7 (unchanged)" in beginning[1]
    command_line = Path(f"/proc/{process.pid}/cmdline")
    if command_line.exists():
        assert KEY.encode() not in command_line.read_bytes()
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert re.fullmatch(STAMP + "INFO stopped by SIGTERM\n", out)


@pytest.mark.parametrize(
    ("number", "interval", "status"),
    [(signal.SIGTERM, "60", 0), (signal.SIGTERM, "0", 143), (signal.SIGINT, "60", 130)],
)
def test_a_signal_ends_it_within_a_request(
    backend: FakeBackend, start: Start, number: signal.Signals, interval: str, status: int
) -> None:
    backend.set_answers(None)
    process = start(backend.url, "host.example.com", PRE_SHARED_KEY=KEY, INTERVAL=interval)
    assert backend.was_asked.wait(30)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (status, "")
    assert "WARNING" not in out  # the request did not end first
    assert f"stopped by {number.name}" in out


def test_healthy_reports_by_its_exit_status(backend: FakeBackend, once: Once) -> None:
    backend.set_answers(good("198.51.100.7"))
    assert once("--healthy", HEARTBEAT_FILE="heart")[0] == 1
    once(backend.url, "host.example.com", PRE_SHARED_KEY=KEY, HEARTBEAT_FILE="heart")
    assert once("--healthy", HEARTBEAT_FILE="heart", INTERVAL="60")[0] == 0


def test_version_and_help(once: Once) -> None:
    assert once("--version") == (0, f"hetzner-dyndns client {__version__}\n", "")
    status, out, _ = once("--help")
    assert status == 0
    for name in ("BACKEND_URL", "PRE_SHARED_KEY_FILE", "RECORD_TYPES", "HEARTBEAT_FILE"):
        assert name in out


@pytest.mark.parametrize(
    ("answer", "logged"),
    [
        (redirect(302, b"http://["), "redirects (302) to 'http://[', which is not a URL"),
        (sized(b"[]", b"a header without a colon\r\n"), "instead of a JSON object"),
    ],
    ids=["redirect to no URL", "header without a colon"],
)
def test_an_odd_answer_is_reported_in_one_line(once: Once, answer: bytes, logged: str) -> None:
    with Servers() as servers:
        port = servers.start(lambda _: [answer])
        status, out, err = once(f"http://127.0.0.1:{port}", "host.example.com", PRE_SHARED_KEY=KEY)
    assert (status, err) == (1, "")
    (line,) = out.splitlines()
    assert logged in line
