"""The documented lines for users work as written."""

from __future__ import annotations

import re
import socket
import urllib.parse
from pathlib import Path

import pytest
import requests

from tests.e2e.processes import Backend, Hetzner, run

ROOT = Path(__file__).resolve().parents[2]
CLIENTS = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
# The user's own line from before the documents.
WRITTEN_DOWN = (
    "schtasks /Create /SC MINUTE /MO 1 /TN DynDNSUpdate ^\n"
    "/TR \"powershell -Command \\\"Invoke-WebRequest -Uri 'https://backend.example.com/update' "
    "-Method Post -Headers @{ 'X-Pre-Shared-Key'='<token>' } "
    "-Body @{ fqdn='host.example.com' }\\\"\""
)
# The user agent of Windows PowerShell 5.1.
AGENT = "Mozilla/5.0 (Windows NT; Windows NT 10.0; en-US) WindowsPowerShell/5.1.19041.1"
LONGEST_TASK = 261  # schtasks /?
CRON_PATH = "/usr/bin:/bin"


def blocks(text: str, words: str) -> list[str]:
    """Return the code blocks that contain a text."""
    found = re.findall(r"^```\w*\n(.*?)\n```$", text, re.MULTILINE | re.DOTALL)
    return [block for block in found if words in block]


def filled_in(line: str, backend: Backend, host: str) -> str:
    """Return a line with its placeholders filled in."""
    line = re.sub(r"https://(your-)?backend\.example\.com", backend.url, line)
    line = re.sub("<key>|<token>", backend.key_of(host), line)
    return line.replace("host.example.com", host)


def cron_lines() -> list[str]:
    found = blocks(CLIENTS, "\n*/5 * * * *")
    found += [block for block in blocks(CLIENTS, "*/5 * * * *") if block.startswith("*/5")]
    assert found
    return list(dict.fromkeys(found))


def seen_by_cron(line: str) -> str:
    """Return the command of a crontab line; an unescaped % would end the command."""
    minute, *rest, command = line.split(None, 5)
    assert (minute, rest) == ("*/5", ["*"] * 4)
    assert "%" not in command
    assert "\n" not in command
    return command


@pytest.mark.real("curl")
@pytest.mark.parametrize("line", cron_lines())
def test_the_cron_line_sets_the_address(
    backend: Backend, hetzner: Hetzner, host: str, folder: Path, line: str
) -> None:
    command = seen_by_cron(filled_in(line, backend, host))
    ended = run(["/bin/sh", "-c", command], folder, PATH=CRON_PATH)
    assert ended.returncode == 0, ended.stderr
    assert '"created"' in ended.stdout
    hetzner.expect(host, "127.0.0.1")


@pytest.mark.real("curl")
def test_the_cron_line_with_a_wrong_key_fails(backend: Backend, host: str, folder: Path) -> None:
    line = cron_lines()[0].replace("<key>", "a-wrong-key-of-some-length")
    command = seen_by_cron(filled_in(line, backend, host))
    assert run(["/bin/sh", "-c", command], folder, PATH=CRON_PATH).returncode == 22


@pytest.mark.real("curl")
def test_the_task_of_a_synology_sets_the_address(
    backend: Backend, hetzner: Hetzner, host: str, folder: Path
) -> None:
    (script,) = (block for block in blocks(CLIENTS, "curl -sSf") if block.startswith("curl"))
    ended = run(["/bin/sh", "-c", filled_in(script, backend, host)], folder, PATH=CRON_PATH)
    assert ended.returncode == 0, ended.stderr
    hetzner.expect(host, "127.0.0.1")


def test_the_provider_of_a_synology_sets_the_address(
    backend: Backend, hetzner: Hetzner, host: str
) -> None:
    (url,) = blocks(CLIENTS, "__MYIP__")
    given = {"HOSTNAME": host, "MYIP": "198.51.100.9", "USERNAME": host}
    for name, value in {**given, "PASSWORD": backend.key_of(host)}.items():
        url = url.replace(f"__{name}__", urllib.parse.quote(value, safe=""))
    answer = backend.session.get(filled_in(url, backend, host), timeout=20)
    assert (answer.status_code, answer.text) == (200, "good 198.51.100.9\n")
    hetzner.expect(host, "198.51.100.9")


@pytest.mark.real("curl")
def test_the_line_for_a_qnap_adds_the_cron_line(
    backend: Backend, hetzner: Hetzner, host: str, folder: Path
) -> None:
    (script,) = blocks(CLIENTS, "/etc/config/crontab")
    first = script.splitlines()[0].replace("/etc/config/crontab", "crontab")
    assert run(["/bin/sh", "-c", filled_in(first, backend, host)], folder).returncode == 0
    command = seen_by_cron((folder / "crontab").read_text(encoding="utf-8").strip())
    assert run(["/bin/sh", "-c", command], folder, PATH=CRON_PATH).returncode == 0
    hetzner.expect(host, "127.0.0.1")


@pytest.mark.real("curl")
def test_the_key_may_be_in_a_file(
    backend: Backend, hetzner: Hetzner, host: str, folder: Path
) -> None:
    key = folder / "dyndns-key"
    key.write_text(f"X-Pre-Shared-Key: {backend.key_of(host)}\n")
    line = cron_lines()[0].replace("'X-Pre-Shared-Key: <key>'", "@/etc/dyndns-key")
    assert "-H @/etc/dyndns-key" in CLIENTS
    command = filled_in(seen_by_cron(line), backend, host).replace("/etc/dyndns-key", str(key))
    assert backend.key_of(host) not in command
    assert run(["/bin/sh", "-c", command], folder, PATH=CRON_PATH).returncode == 0
    hetzner.expect(host, "127.0.0.1")


def windows_lines() -> dict[str, str]:
    clients = blocks(CLIENTS, "Invoke-WebRequest")
    scripts = [block.splitlines()[-1] for block in blocks(CLIENTS, "Invoke-RestMethod")]
    assert len(clients) == len(scripts) == 1
    return {
        "written down": WRITTEN_DOWN,
        "clients": clients[0],
        "file": scripts[0],
    }


def task_of(block: str) -> str:
    """Return the command that Task Scheduler stores, without cmd's line break and escapes."""
    line = block.replace(" ^\n", " ")
    task = re.search(r'/TR "((?:[^"\\]|\\.)*)"$', line)
    assert task is not None, line
    return task[1].replace('\\"', '"')


def powershell(command: str) -> tuple[str, dict[str, str], dict[str, str]]:
    """Return the URL, headers and form of an Invoke-WebRequest or Invoke-RestMethod."""
    inner = re.fullmatch(r'powershell -Command "(.*)"', command)
    words = inner[1] if inner else command
    form = r"Invoke-\w+ (?:-UseBasicParsing )?-Uri '([^']+)' -Method Post "
    found = re.fullmatch(form + r"-Headers @\{(.*?)\} -Body @\{(.*?)\}", words)
    assert found is not None, words
    pairs = r"'?([\w-]+)'?='([^']*)'"
    return found[1], dict(re.findall(pairs, found[2])), dict(re.findall(pairs, found[3]))


def as_windows_does(port: int, url: str, headers: dict[str, str], form: dict[str, str]) -> str:
    """Send the request as Windows does: a hashtable as a form, and a body after `Expect`."""
    body = urllib.parse.urlencode(form).encode()
    lines = {
        "User-Agent": AGENT,
        "Content-Type": "application/x-www-form-urlencoded",
        **headers,
        "Host": urllib.parse.urlsplit(url).netloc,
        "Content-Length": str(len(body)),
        "Expect": "100-continue",
        "Connection": "Keep-Alive",
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        request = f"POST {urllib.parse.urlsplit(url).path} HTTP/1.1\r\n{head}\r\n"
        connection.sendall(request.encode())
        with connection.makefile("rb") as answer:
            status = answer.readline()
            if b" 100 " in status:
                assert answer.readline() == b"\r\n"
                connection.sendall(body)
                status = answer.readline()
            return status.decode().strip()


@pytest.mark.parametrize("which", ["written down", "clients", "file"])
def test_the_windows_line_sets_the_address(
    backend: Backend, hetzner: Hetzner, host: str, which: str
) -> None:
    block = filled_in(windows_lines()[which], backend, host)
    url, headers, form = powershell(block if which == "file" else task_of(block))
    assert (url, form) == (f"{backend.url}/update", {"fqdn": host})
    assert headers == {"X-Pre-Shared-Key": backend.key_of(host)}
    assert as_windows_does(backend.port, url, headers, form) == "HTTP/1.1 200 OK"
    hetzner.expect(host, "127.0.0.1")
    wrong = {"X-Pre-Shared-Key": "a-wrong-key-of-some-length"}
    assert "401" in as_windows_does(backend.port, url, wrong, form)


@pytest.mark.parametrize("which", ["written down", "clients"])
def test_a_windows_line_is_short_enough_for_the_task_scheduler(which: str) -> None:
    key, host = "k" * 43, "host.example.com"  # a key as the backend generates it
    task = task_of(re.sub("<key>|<token>", key, windows_lines()[which]))
    assert host in task
    assert len(task) <= LONGEST_TASK


def test_the_form_is_the_one_requests_would_send(backend: Backend, host: str) -> None:
    """Check the helper that the test above uses."""
    answer = requests.post(
        f"{backend.url}/update",
        data={"fqdn": host, "ip": "198.51.100.8"},
        headers={"X-Pre-Shared-Key": backend.key_of(host)},
        timeout=20,
    )
    assert answer.json()["ip"] == "198.51.100.8"
