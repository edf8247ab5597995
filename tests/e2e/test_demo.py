"""The demo's printed commands work, and it leaves no process or file behind."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Iterator

import pytest
import requests

from demo.invitation import invitation
from demo.keeper import Keeper
from demo.ports import NAMES, Ports, checked
from demo.processes import DemoFailed
from demo.stage import Stage
from sandbox import Sandbox
from tests.e2e.processes import ROOT, environment, until
from tests.ports import free_port

HOST, LAPTOP, NAS = "host.example.com", "laptop.example.com", "nas.example.com"
LAST_LINE = "Press Ctrl-C to stop the demo."


def ports() -> list[str]:
    options = ("--http-port", "--hetzner-port", "--dns-port")
    return [word for option in options for word in (option, str(free_port()))]


def default_sighup() -> None:
    """Restore the default action for SIGHUP, which the parent process may ignore."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class Demo:
    """A demo started as from a shell, with its output in a file."""

    def __init__(self, folder: Path, *options: str, terminal: int = -1, stdout: int = -1) -> None:
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        self._output = folder / "output"
        environ = {**environment(folder), "TMPDIR": str(self.temporary)}
        del environ["PYTHONUNBUFFERED"]
        own = terminal >= 0
        with self._output.open("w") as output:
            self.process = subprocess.Popen(
                [*(["setsid", "--ctty"] if own else []), sys.executable, "-m", "demo", *options],
                cwd=ROOT,
                env=environ,
                stdin=terminal if own else subprocess.DEVNULL,
                stdout=terminal if own else stdout if stdout >= 0 else output,
                stderr=terminal if own else output,
                start_new_session=not own,
                preexec_fn=default_sighup,  # noqa: PLW1509
            )

    @property
    def output(self) -> str:
        return self._output.read_text(encoding="utf-8")

    def wait_for_invitation(self) -> None:
        """Wait until the demo has printed its whole invitation."""

        def is_complete() -> bool:
            assert self.process.poll() is None, self.output
            return LAST_LINE in self.output

        until(is_complete, "the invitation", lambda: self.output)

    def leftovers(self, members: dict[int, str]) -> list[str]:
        alive = [command for pid, command in members.items() if is_alive(pid)]
        return alive + [str(path) for path in self.temporary.iterdir()]

    def wait_until_clean(self, members: dict[int, str]) -> None:
        def text() -> str:
            return "\n".join(self.leftovers(members))

        until(lambda: not self.leftovers(members), "no leftovers", text)


def family(pid: int) -> dict[int, str]:
    """Return a process and its descendants, with their commands."""
    found = {}
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            words = status.read_text(encoding="utf-8").rpartition(")")[2].split()
            parents[int(status.parent.name)] = int(words[1])
    members = [pid]
    for member in members:
        members += [child for child, parent in parents.items() if parent == member]
        with contextlib.suppress(OSError):  # the process has ended
            command = Path(f"/proc/{member}/cmdline").read_bytes()
            found[member] = command.replace(b"\0", b" ").decode()
    return found


def is_alive(pid: int) -> bool:
    """Check whether a process runs; a zombie doesn't."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return False
    return words[0] not in "ZX"


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    demo = Demo(tmp_path, *ports())
    yield demo
    demo.process.terminate()
    demo.process.wait(60)


def paragraphs(output: str) -> list[str]:
    """Return the printed paragraphs between the introduction and the last line."""
    text = output.partition("Try these commands in another terminal.\n")[2].partition(LAST_LINE)[0]
    return [part.strip("\n") for part in text.split("\n\n") if part.strip()]


@pytest.mark.real("curl", "dig", "ddclient")
def test_every_printed_command_works_as_printed(demo: Demo, tmp_path: Path) -> None:
    demo.wait_for_invitation()
    parts = paragraphs(demo.output)
    commands = [part for part in parts if not part.endswith(":")]
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

    by_client, dig, by_json, as_router, by_ddclient, calls = commands
    assert f"{NAS} A: 198.51.100.41 (updated)" in typed(by_client)
    assert typed(dig) == "198.51.100.12\n"
    for command, answer, address in (
        (by_json, '"status": "updated"', "198.51.100.20"),
        (as_router, "good 198.51.100.22", "198.51.100.22"),
        (by_ddclient, "SUCCESS:", "198.51.100.21"),
    ):
        assert answer in typed(command)
        until(lambda address=address: typed(dig) == f"{address}\n", f"{address} in the DNS")
    assert by_ddclient.count("\n") == 6
    assert '"198.51.100.21"' in typed(calls)


def test_the_printed_dashboard_url_works(demo: Demo) -> None:
    demo.wait_for_invitation()
    form = r"on the dashboard: (\S+)\nUser name (\w+), password (\w+)\n"
    found = re.search(form, demo.output)
    assert found is not None
    page = requests.get(found[1], auth=(found[2], found[3]), timeout=20)
    assert page.status_code == 200
    assert [host for host in (HOST, LAPTOP, NAS) if host not in page.text] == []
    history = requests.get(f"{found[1]}hosts/{HOST}", auth=(found[2], found[3]), timeout=20).text
    assert "198.51.100.12" in history


@pytest.mark.parametrize("programs", [[], ["dig"], ["curl", "ddclient", "dig"]])
def test_the_invitation_names_only_programs_that_are_there(
    programs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: name if name in programs else None)
    text = invitation(HOST, NAS, str, Ports(8080, 8090, 5354), Path("/tmp/demo"))  # noqa: S108
    started = set(re.findall(r"^(curl|dig|ddclient) ", text, re.MULTILINE))
    assert started == set(programs)
    assert "update_dns.py" in text
    delay = "for half a second after an update you may still see the old one"
    assert (delay in text) is ("dig" in programs)


def test_the_steps_run_once_and_show_each_push(tmp_path: Path) -> None:
    demo = Demo(tmp_path, *ports(), "--once")
    assert demo.process.wait(120) == 0, demo.output
    assert "Everything works." in demo.output
    for words in ("answer: 911", "answer: badauth", f"push | {NAS} is lost (priority 4)"):
        assert words in demo.output
    assert demo.leftovers({}) == []


def test_polls_of_actions_are_not_counted_as_calls() -> None:
    keeper = Keeper()
    try:
        with Sandbox(zones=["example.com"]) as sandbox:
            stage = Stage(Ports(0, sandbox.http_port, 0), keeper)
            sandbox.publish(HOST, "A", "198.51.100.10")
            record = f"{sandbox.http_url}/zones/example.com/rrsets/host/A"
            login = {"Authorization": f"Bearer {sandbox.token}"}
            records = {"records": [{"value": "198.51.100.11"}]}
            written = requests.post(
                f"{record}/actions/set_records", json=records, headers=login, timeout=10
            )
            action = f"{sandbox.http_url}/actions?id={written.json()['action']['id']}"
            assert requests.get(action, headers=login, timeout=10).ok
            assert stage.calls() == 1
            stage.web.close()
    finally:
        keeper.finish()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_no_process_or_file_remains_after_the_demo_ends(demo: Demo, ending: signal.Signals) -> None:
    demo.wait_for_invitation()
    members = family(demo.process.pid)
    commands = " ".join(members.values())
    assert all(name in commands for name in ("-m sandbox", "-m backend", "update_dns.py"))
    assert len(list(demo.temporary.iterdir())) == 1
    demo.process.send_signal(ending)
    killed = ending == signal.SIGKILL
    assert demo.process.wait(60) == (-ending if killed else 0)
    assert ("Ended; nothing is left behind." in demo.output) != killed
    assert killed or demo.leftovers(members) == []
    demo.wait_until_clean(members)
    assert "Traceback" not in demo.output


def test_a_second_ctrl_c_does_not_disturb_the_cleaning_up(demo: Demo) -> None:
    demo.wait_for_invitation()
    members = family(demo.process.pid)
    while demo.process.poll() is None:
        demo.process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            demo.process.wait(0.01)
    assert demo.process.returncode == 0
    assert "Ended; nothing is left behind." in demo.output
    assert demo.leftovers(members) == []


@pytest.mark.real("setsid")
def test_a_terminal_that_is_closed_takes_everything_along(tmp_path: Path) -> None:
    ours, its = pty.openpty()
    demo = Demo(tmp_path, *ports(), terminal=its)
    os.close(its)
    output = b""
    while LAST_LINE.encode() not in output:
        output += os.read(ours, 10000)
    members = family(demo.process.pid)
    os.close(ours)
    assert demo.process.wait(60) == 0
    demo.wait_until_clean(members)


def test_a_reader_that_has_gone_ends_it_with_one_line(tmp_path: Path) -> None:
    ours, its = os.pipe()
    demo = Demo(tmp_path, *ports(), stdout=its)
    os.close(its)
    os.read(ours, 1000)
    members = family(demo.process.pid)
    os.close(ours)
    assert demo.process.wait(60) == 1
    assert demo.output == "The demonstration failed: [Errno 32] Broken pipe\n"
    demo.wait_until_clean(members)


def complaint(folder: Path, *options: str) -> str:
    demo = Demo(folder, *options)
    assert demo.process.wait(60) == 1
    assert demo.output.count("\n") == 1, demo.output
    assert demo.leftovers({}) == []
    return demo.output


@pytest.mark.parametrize("text", ["99999", "65536", "0", "-1", "", "http", "8080.5", "9" * 5000])
@pytest.mark.parametrize("name", NAMES)
def test_an_invalid_port_is_reported_in_one_line(name: str, text: str) -> None:
    texts = [text if one == name else str(free_port()) for one in NAMES]
    with pytest.raises(DemoFailed) as failed:
        checked(texts)
    assert str(failed.value) == f"{name} can't be '{text}': choose a number from 1 to 65535."


def test_two_equal_ports_are_reported_in_one_line(tmp_path: Path) -> None:
    port = str(free_port())
    output = complaint(tmp_path, "--http-port", port, "--dns-port", port)
    assert output.startswith(f"HTTP_PORT and DNS_PORT are both {port}: choose different ones")


@pytest.mark.parametrize(
    ("name", "over"),
    [("HTTP_PORT", "TCP"), ("HETZNER_PORT", "TCP"), ("DNS_PORT", "TCP"), ("DNS_PORT", "UDP")],
)
def test_a_taken_port_is_reported_in_one_line(name: str, over: str) -> None:
    with bound_port(over) as port:
        texts = [str(port if one == name else free_port()) for one in NAMES]
        with pytest.raises(DemoFailed) as failed:
            checked(texts)
    output = str(failed.value)
    assert output.startswith(f"Port {port} can't be used over {over} (Address already in use): ")
    assert f"`make demo {name}=" in output


@contextlib.contextmanager
def bound_port(over: str) -> Iterator[int]:
    """Bind a port over TCP or UDP that is free over the other protocol."""
    port = free_port()
    with socket.socket(type={"TCP": socket.SOCK_STREAM, "UDP": socket.SOCK_DGRAM}[over]) as taken:
        taken.bind(("127.0.0.1", port))
        if over == "TCP":
            taken.listen()
        yield port
