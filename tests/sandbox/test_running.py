"""The sandbox in the process of a test, and as a separate program."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Iterator

import pytest
import requests

import sandbox as sandbox_package
from sandbox import DEMO_TOKEN, Sandbox
from tests.sandbox.conftest import Caller, Clock

Program = subprocess.Popen


@pytest.fixture
def programs() -> Iterator[list[Program]]:
    started: list[Program] = []
    yield started
    for program in started:
        program.kill()
        program.communicate()


def start(programs: list[Program], *arguments: str) -> Program:
    command = [sys.executable, "-m", "sandbox", *arguments]
    pipe = subprocess.PIPE
    programs.append(subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True))
    return programs[-1]


def lines_until_ready(program: Program) -> list[str]:
    lines: list[str] = []
    while lines[-1:] != ["sandbox ready"]:
        line = program.stdout.readline()
        assert line, program.stderr.read()
        lines.append(line.rstrip("\n"))
    return lines


def test_one_connection_serves_many_calls(sandbox: Sandbox) -> None:
    with socket.create_connection((sandbox.host, sandbox.http_port), timeout=20) as connection:
        stream = connection.makefile("rb")
        head = f"Host: x\r\nAuthorization: Bearer {sandbox.token}\r\n"
        for body in ("{}", "{"):
            text = f"POST /v1/zones HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n{body}"
            connection.sendall(text.encode())
        statuses = []
        for _ in range(2):
            statuses.append(int(stream.readline().split()[1]))
            length = 0
            for line in iter(stream.readline, b"\r\n"):
                name, _, value = line.decode().partition(":")
                length = int(value) if name == "Content-Length" else length
            stream.read(length)
        stream.close()
    assert statuses == [422, 400]


def test_a_chunked_body_is_read(caller: Caller) -> None:
    chunks = iter([b'{"name": "www", "type": "A",', b' "records": [{"value": "192.0.2.1"}]}'])
    answer = caller.session.post(f"{caller.base}/zones/example.com/rrsets", data=chunks, timeout=20)
    assert answer.status_code == 201


def test_a_stopped_sandbox_closes_open_connections_and_can_start_again(
    sandbox: Sandbox, caller: Caller
) -> None:
    ports = {"http_port": sandbox.http_port, "dns_port": sandbox.dns_port}
    caller.change("POST", "/zones", {"name": "example.org", "mode": "primary"})
    sandbox.stop()
    with pytest.raises(requests.ConnectionError):
        caller.get("/zones")
    sandbox.start(**ports)
    assert (sandbox.http_port, sandbox.dns_port) == tuple(ports.values())
    assert caller.get("/zones/example.org")


def test_records_can_be_published_and_removed_without_a_call(sandbox: Sandbox) -> None:
    sandbox.publish("home.example.com", "AAAA", "2001:DB8::2", "2001:db8::1", ttl=60)
    assert sandbox.records("home.example.com", "AAAA") == ["2001:db8::1", "2001:db8::2"]
    assert sandbox.answer("home.example.com", "AAAA") == ["2001:db8::1", "2001:db8::2"]
    sandbox.publish("home.example.com", "AAAA")
    assert sandbox.records("home.example.com", "AAAA") == []
    assert sandbox.answer("home.example.com", "AAAA") == []
    assert sandbox.calls() == []


@pytest.mark.parametrize(
    "options",
    [
        {"tokens": ["short"]},
        {"tokens": ["x" * 63 + "-"]},
        {"zones": ["com"]},
        {"zones": ["Example.com"]},
        {"zones": ["example.com."]},
        {"zones": [f"example.com={'x' * 64}"]},
        {"action_seconds": -1},
        {"limits": (0, 7200)},
        {"limits": (3600, 0)},
        {"hour_seconds": 0},
        {"hour_seconds": float("nan")},
        {"hour_seconds": float("inf")},
    ],
)
def test_an_invalid_sandbox_is_refused(options: dict[str, Any], clock: Clock) -> None:
    with pytest.raises(ValueError, match=r"token|zone|action_seconds|limits|hour_seconds"):
        Sandbox(**options, clock=clock)


def test_the_sandbox_prints_ports_token_and_readiness(
    programs: list[Program],
) -> None:
    program = start(programs, "--http-port", "0", "--dns-port", "0", "--zone", "a.example")
    http, dns, token, ready = lines_until_ready(program)
    assert (dns.split()[0], ready) == ("dns", "sandbox ready")
    assert token == f"token {DEMO_TOKEN}"
    headers = {"Authorization": f"Bearer {DEMO_TOKEN}"}
    answer = requests.get(f"{http.split()[1]}/zones", headers=headers, timeout=20)
    assert [zone["name"] for zone in answer.json()["zones"]] == ["a.example"]


def test_the_program_takes_several_zones_and_tokens(programs: list[Program]) -> None:
    one, two, reader = "1" * 64, "2" * 64, "3" * 64
    zones = ["--zone", "a.example", f"b.example={two}", "--zone", "c.example"]
    tokens = ["--token", one, "--token", two, "--read-only-token", reader]
    ports = ["--http-port", "0", "--dns-port", "0", "--action-seconds", "0"]
    http, _, ready = lines_until_ready(start(programs, *zones, *tokens, *ports))
    assert ready == "sandbox ready"
    for token, names in ((one, "ac"), (two, "abc"), (reader, "ac")):
        headers = {"Authorization": f"Bearer {token}"}
        answer = requests.get(f"{http.split()[1]}/zones", headers=headers, timeout=20)
        assert [zone["name"] for zone in answer.json()["zones"]] == [f"{n}.example" for n in names]


def test_the_program_takes_other_limits_and_a_shorter_hour(programs: list[Program]) -> None:
    ports = ["--http-port", "0", "--dns-port", "0"]
    started = start(programs, *ports, "--limits", "500", "900", "--hour-seconds", "7200")
    http = lines_until_ready(started)[0].split()[1]
    headers = {"Authorization": f"Bearer {DEMO_TOKEN}"}
    for path, limit in (("zones", "500"), ("actions?id=1", "900")):
        answer = requests.get(f"{http}/{path}", headers=headers, timeout=20)
        assert answer.headers["ratelimit-limit"] == limit
        until_full = int(answer.headers["ratelimit-reset"]) - time.time()
        # One call of a limit per 7200 s; with 3600 s it would be half of that.
        assert until_full > 7200 / int(limit) - 2


@pytest.mark.parametrize("library", ["dnslib", "flask"])
def test_a_missing_package_is_reported_in_one_line(tmp_path: Path, library: str) -> None:
    (tmp_path / f"{library}.py").write_text(
        f"raise ModuleNotFoundError(\"No module named '{library}'\", name='{library}')\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "sandbox", "--help"]
    ended = subprocess.run(
        command, env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    needs = Path(sandbox_package.__file__).with_name("requirements.txt")
    install = f"run {sys.executable} -m pip install -r {needs}"
    assert ended.stderr == f"sandbox: {library} isn't installed: {install}\n"


def test_an_import_error_inside_the_package_is_raised() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Sandwich'"):
        sandbox_package.Sandwich  # noqa: B018


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_program_ends_silently_after_a_signal(programs: list[Program], number: int) -> None:
    program = start(programs, "--http-port", "0", "--dns-port", "0")
    http = lines_until_ready(program)[0].split()[1]
    with requests.Session() as session:
        session.get(f"{http}/zones", timeout=20)
        program.send_signal(number)
        assert program.wait(timeout=10) == 0
    assert program.communicate() == ("", "")


@pytest.mark.parametrize(
    ("option", "other", "kind"),
    [
        ("--http-port", "--dns-port", socket.SOCK_STREAM),
        ("--dns-port", "--http-port", socket.SOCK_STREAM),
        ("--dns-port", "--http-port", socket.SOCK_DGRAM),
    ],
)
def test_a_taken_port_is_reported_with_a_hint(
    programs: list[Program], option: str, other: str, kind: int
) -> None:
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        port = taken.getsockname()[1]
        program = start(programs, option, str(port), other, "0")
        out, err = program.communicate(timeout=10)
    assert (program.returncode, out) == (1, "")
    assert err == (
        f"sandbox: port {port} on 127.0.0.1 is in use: stop the program that uses it,"
        f" or choose another port with {option} (0 selects a free one)\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--token", "short"], "a token has 64 letters and digits"),
        (["--zone", "com"], "use a name like example.com"),
        (["--http-port", "65536"], "invalid port_number value: '65536'"),
        (["--action-seconds", "nan"], "action_seconds can't be negative"),
        (["--limits", "0", "1"], "limits must be at least 1"),
        (["--hour-seconds", "0"], "hour_seconds must be above 0"),
    ],
)
def test_an_invalid_option_is_refused_with_an_explanation(
    programs: list[Program], arguments: list[str], message: str
) -> None:
    program = start(programs, *arguments)
    out, err = program.communicate(timeout=10)
    assert (program.returncode, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
