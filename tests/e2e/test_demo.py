"""The demonstration: what it prints works as printed and comes at once, and it leaves nothing."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Dict, Iterator, List, Sequence

import pytest

from demo.invitation import invitation
from demo.ports import Ports
from tests.e2e.processes import ROOT, environment, free_port, until

HOST = "host.example.com"
LAST_LINE = "Ctrl-C ends everything."
Process = subprocess.Popen


def ports() -> List[str]:
    options = ("--http-port", "--hetzner-port", "--dns-port")
    return [word for option in options for word in (option, str(free_port()))]


def demo(
    folder: Path, *options: str, through: Sequence[str] = (), output: int = subprocess.PIPE
) -> Process:
    """Start it as a person's shell would: with buffered output, in a session of its own."""
    environ = {**environment(folder), "TMPDIR": str(folder)}
    del environ["PYTHONUNBUFFERED"]
    return subprocess.Popen(
        [*through, sys.executable, "-m", "demo", *options],
        cwd=ROOT,
        env=environ,
        stdin=output if output > 0 else subprocess.DEVNULL,
        stdout=output,
        stderr=output if output > 0 else subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=not through,
    )


def said_until_invited(process: Process) -> str:
    """What it says up to the last line, which it has to say while it runs."""
    said = ""
    for line in process.stdout:
        said += line
        if LAST_LINE in line:
            return said
    pytest.fail(f"no invitation\n{said}")


def family(pid: int) -> Dict[int, str]:
    """A process and all that it has started, with their commands."""
    found = {}
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            words = status.read_text(encoding="utf-8").rpartition(")")[2].split()
            parents[int(status.parent.name)] = int(words[1])
    members = [pid]
    for member in members:
        members += [child for child, parent in parents.items() if parent == member]
        command = Path(f"/proc/{member}/cmdline").read_bytes()
        found[member] = command.replace(b"\0", b" ").decode()
    return found


def is_alive(pid: int) -> bool:
    """Whether it runs: one that has ended may still wait for somebody to ask how."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return False
    return words[0] not in "ZX"


def expect_nothing_left(members: Dict[int, str], folder: Path) -> None:
    def left() -> List[str]:
        alive = [command for pid, command in members.items() if is_alive(pid)]
        return alive + [str(path) for path in folder.glob("hetzner-dyndns-demo-*")]

    until(lambda: not left(), "nothing to be left", lambda: "\n".join(left()))


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Process]:
    process = demo(tmp_path, *ports())
    yield process
    process.terminate()
    process.communicate(timeout=60)


def paragraphs(said: str) -> List[str]:
    """What is printed between the word to the person and the last line, by empty lines."""
    invitation = said.partition("Now you. In another terminal:\n")[2].rpartition("\n")[0]
    return [part.strip("\n") for part in invitation.rpartition("\n")[0].split("\n\n") if part]


@pytest.mark.real("curl", "dig", "ddclient")
def test_every_printed_command_works_as_printed(running: Process, tmp_path: Path) -> None:
    parts = [part for part in paragraphs(said_until_invited(running)) if part.strip()]
    commands = [part for part in parts if not part.rstrip().endswith(":")]
    assert len(parts) == 2 * len(commands), parts

    def typed(command: str) -> str:
        ended = subprocess.run(
            ["sh", "-c", command],
            cwd=tmp_path,
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, (command, ended)
        return ended.stdout + ended.stderr

    dig, by_json, as_router, by_ddclient, calls = commands
    assert typed(dig) == "198.51.100.11\n"
    for command, answer, address in (
        (by_json, '"status": "updated"', "198.51.100.20"),
        (as_router, "good 198.51.100.22", "198.51.100.22"),
        (by_ddclient, "SUCCESS:", "198.51.100.21"),
    ):
        assert answer in typed(command)
        until(lambda address=address: typed(dig) == f"{address}\n", f"{address} in the DNS")
    assert by_ddclient.count("\n") == 6
    assert '"198.51.100.21"' in typed(calls)


def test_it_is_told_that_the_dns_lags_behind() -> None:
    told = invitation(HOST, "key", Ports(8080, 8090, 5354), Path("/tmp/demo"))  # noqa: S108
    assert "for half a second after an update you may still see the old one" in told


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_however_it_ends_nothing_is_left(
    running: Process, tmp_path: Path, ending: signal.Signals
) -> None:
    said_until_invited(running)
    members = family(running.pid)
    commands = " ".join(members.values())
    assert all(name in commands for name in ("-m sandbox", "-m backend", "update_dns.py"))
    assert list(tmp_path.glob("hetzner-dyndns-demo-*"))
    running.send_signal(ending)
    rest = running.stdout.read()
    assert running.wait(60) == (-ending if ending == signal.SIGKILL else 0)
    assert "Traceback" not in rest
    assert ("Ended; nothing is left behind." in rest) == (ending != signal.SIGKILL)
    expect_nothing_left(members, tmp_path)


@pytest.mark.real("setsid")
def test_a_terminal_that_is_closed_takes_everything_along(tmp_path: Path) -> None:
    ours, its = pty.openpty()
    process = demo(tmp_path, *ports(), through=["setsid", "--ctty"], output=its)
    os.close(its)
    said = b""
    while LAST_LINE.encode() not in said:
        said += os.read(ours, 10000)
    members = family(process.pid)
    os.close(ours)
    assert process.wait(60) == 0
    expect_nothing_left(members, tmp_path)


def test_a_reader_that_has_gone_ends_it_without_a_traceback(tmp_path: Path) -> None:
    process = demo(tmp_path, *ports())
    process.stdout.readline()
    members = family(process.pid)
    process.stdout.close()
    assert process.wait(60) == 1
    expect_nothing_left(members, tmp_path)


def complaint(folder: Path, *options: str) -> str:
    process = demo(folder, *options)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.count("\n") == 1, said
    assert list(folder.iterdir()) == []
    return said


@pytest.mark.parametrize("text", ["99999", "65536", "0", "-1", "", "http", "8080.5", "9" * 5000])
@pytest.mark.parametrize("option", ["--http-port", "--hetzner-port", "--dns-port"])
def test_a_port_that_is_none_is_told_in_one_line(tmp_path: Path, option: str, text: str) -> None:
    name = option.strip("-").replace("-", "_").upper()
    expected = f"{name} can't be '{text}': choose a number from 1 to 65535.\n"
    assert complaint(tmp_path, f"{option}={text}") == expected


def test_two_equal_ports_are_told_in_one_line(tmp_path: Path) -> None:
    port = str(free_port())
    said = complaint(tmp_path, "--http-port", port, "--dns-port", port)
    assert said.startswith(f"HTTP_PORT and DNS_PORT are both {port}: choose different ones")


@pytest.mark.parametrize(
    ("option", "kind"),
    [
        ("--http-port", socket.SOCK_STREAM),
        ("--hetzner-port", socket.SOCK_STREAM),
        ("--dns-port", socket.SOCK_STREAM),
        ("--dns-port", socket.SOCK_DGRAM),
    ],
)
def test_a_port_that_is_taken_is_told_in_one_line(
    tmp_path: Path, option: str, kind: socket.SocketKind
) -> None:
    with socket.socket(type=kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        port = taken.getsockname()[1]
        said = complaint(tmp_path, option, str(port))
    over = "TCP" if kind == socket.SOCK_STREAM else "UDP"
    name = option.strip("-").replace("-", "_").upper()
    assert said.startswith(f"Port {port} can't be used over {over} (Address already in use): ")
    assert f"`make demo {name}=" in said
