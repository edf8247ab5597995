"""An invalid set-up stops the start with exit code 1 and one line that names the setting."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
import sys
from pathlib import Path
from typing import Callable, NamedTuple

import pytest

from tests.e2e.processes import OPERATOR, TOKEN, Backend, Hetzner, run


class SetUp(NamedTuple):
    """An invalid set-up: variables, and a folder changed by `prepare`."""

    named: tuple[str, ...]  # the text that the line must contain
    variables: dict[str, str] = {}  # noqa: RUF012
    prepare: Callable[[Path], object] = lambda _: None


def leave_a_newer_store(folder: Path) -> None:
    connection = sqlite3.connect(str(folder / "hetzner-dyndns.db"))
    connection.execute("create table meta (key text primary key, value text not null)")
    connection.execute("insert into meta values ('schema', '999')")
    connection.commit()
    connection.close()


def leave_no_store(folder: Path) -> None:
    (folder / "hetzner-dyndns.db").write_bytes(b"this is no database" * 1000)


SECRET = "never-show-this-0123456789"
SET_UPS: dict[str, SetUp] = {
    "no token": SetUp(("HETZNER_TOKEN", "console.hetzner.com"), {"HETZNER_TOKEN": ""}),
    "a token with a blank in it": SetUp(
        ("HETZNER_TOKEN",), {"HETZNER_TOKEN": f"{SECRET} {SECRET}"}
    ),
    "a token file that isn't there": SetUp(
        ("HETZNER_TOKEN_FILE", "/nowhere/token"),
        {"HETZNER_TOKEN": "", "HETZNER_TOKEN_FILE": "/nowhere/token"},
    ),
    "a key file that is a directory": SetUp(
        ("PRE_SHARED_KEY_FILE", "pre-shared-key", "directory"),
        prepare=lambda folder: (folder / "pre-shared-key").mkdir(),
    ),
    "a key file that is nonsense": SetUp(
        ("PRE_SHARED_KEY_FILE", "line 1"),
        prepare=lambda folder: (folder / "pre-shared-key").write_text(f"a b {SECRET}\n"),
    ),
    "a key file in no folder": SetUp(
        ("PRE_SHARED_KEY_FILE", "/nowhere/keys"), {"PRE_SHARED_KEY_FILE": "/nowhere/keys"}
    ),
    "a newer store": SetUp(("STATE_URL", "newer", "999"), prepare=leave_a_newer_store),
    "an invalid store": SetUp(("STATE_URL",), prepare=leave_no_store),
    "a store in no folder": SetUp(("STATE_URL",), {"STATE_URL": "sqlite:////nowhere/state.db"}),
    "an unknown kind of store": SetUp(
        ("STATE_URL",), {"STATE_URL": f"oracle://user:{SECRET}@host/x"}
    ),
    "an invalid host name": SetUp(("REGISTERED_FQDNS",), {"REGISTERED_FQDNS": "home"}),
    "half an operator": SetUp(
        ("BASIC_AUTH_USERNAME", "BASIC_AUTH_PASSWORD"), {"BASIC_AUTH_PASSWORD": SECRET}
    ),
    "an invalid API address": SetUp(("HETZNER_API_URL",), {"HETZNER_API_URL": "hetzner"}),
    "proxies that are none": SetUp(("TRUSTED_PROXIES",), {"TRUSTED_PROXIES": "proxy.lan"}),
    "an address of another machine": SetUp(
        ("LISTEN_ADDRESS", "240.0.0.1"), {"LISTEN_ADDRESS": "240.0.0.1"}
    ),
    "an invalid address": SetUp(("LISTEN_ADDRESS", "@home"), {"LISTEN_ADDRESS": "@home"}),
    "a log file below a file": SetUp(
        ("LOG_FILE", "not-a-folder"),
        {"LOG_FILE": "not-a-folder/backend.log"},
        prepare=lambda folder: (folder / "not-a-folder").write_text(""),
    ),
}


@pytest.mark.parametrize("set_up", SET_UPS.values(), ids=SET_UPS.keys())
def test_one_line_names_the_setting_to_change(
    folder: Path, refused_start: Callable[..., str], set_up: SetUp
) -> None:
    set_up.prepare(folder)
    if (folder / "pre-shared-key").is_file():
        os.utime(
            folder / "pre-shared-key", (0, 0)
        )  # an old time skips the wait for the end of an edit
    variables = {"HETZNER_TOKEN": TOKEN, "REGISTERED_FQDNS": "home.example.com"}
    output = refused_start(**{**variables, "LISTEN_ADDRESS": "127.0.0.1", **set_up.variables})
    lines = [line for line in output.splitlines() if "INFO New keys in" not in line]
    assert len(lines) == 1, output
    assert [word for word in set_up.named if word not in output] == []
    assert SECRET not in output


def test_a_taken_port_is_reported_in_one_line(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = run(
            [sys.executable, "-m", "backend"],
            folder,
            HETZNER_TOKEN=TOKEN,
            LISTEN_ADDRESS="127.0.0.1",
            LISTEN_PORT=port,
        )
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert "LISTEN_PORT" in ended.stderr
    assert port in ended.stderr


def test_only_the_first_start_creates_keys(hetzner: Hetzner, folder: Path) -> None:
    key_file = folder / "pre-shared-key"
    key_file.write_text("# mine\nhost1.example.com a-key-of-my-own-0123456789\n")
    backend = Backend(folder, hetzner, REGISTERED_FQDNS="host1.example.com,host2.example.com")
    backend.start()
    first = key_file.read_text()
    backend.stop()
    assert first.startswith("# mine\nhost1.example.com a-key-of-my-own-0123456789\n")
    assert re.fullmatch(r"host2\.example\.com [A-Za-z0-9_-]{43}", first.splitlines()[2])
    assert key_file.stat().st_mode & 0o777 == 0o600
    backend.start()
    backend.stop()
    assert key_file.read_text() == first
    assert first.splitlines()[2].split()[1] not in backend.output


def test_an_invalid_number_is_a_warning(hetzner: Hetzner, folder: Path) -> None:
    backend = Backend(folder, hetzner, REQUEST_CACHE_TTL="five minutes", RECORD_TTL="1")
    backend.start()
    backend.stop()
    for line in ("REQUEST_CACHE_TTL isn't a whole number", "RECORD_TTL must be from 60"):
        assert re.search(rf"WARNING {line}.*using the default", backend.output), backend.output


@pytest.mark.parametrize(
    ("text", "workers", "warning"),
    [
        ("", 2, "is empty"),
        (" ", 2, "is empty"),
        ("abc", 2, "isn't a whole number"),
        ("0", 2, "must be from 1 to 64"),
        (" 3 ", 3, None),
        ('"3"', 3, "has quotes around its value"),
    ],
)
def test_any_number_of_workers_starts_the_service(
    hetzner: Hetzner, folder: Path, text: str, workers: int, warning: str | None
) -> None:
    with Backend(folder, hetzner, WEB_CONCURRENCY=text) as backend:
        backend.wait_until(lambda: len(backend.workers()) == workers, f"{workers} workers")
    lines = [line for line in backend.output.splitlines() if "WARNING" in line]
    assert len(lines) == (warning is not None), backend.output
    assert f"WARNING WEB_CONCURRENCY {warning}" in "".join(lines) or not warning


def test_variables_of_gunicorn_and_flask_change_nothing(
    hetzner: Hetzner, folder: Path, host: str
) -> None:
    others = {
        "GUNICORN_CMD_ARGS": "--workers 5 --bind 127.0.0.1:1 --no-such-option",
        "PORT": "no port",
        "FORWARDED_ALLOW_IPS": "*",
        "SENDFILE": "maybe",
        "FLASK_DEBUG": "1",
        "FLASK_ENV": "development",
        "FLASK_RUN_PORT": "1",
        "PYTHONOPTIMIZE": "2",
    }
    with Backend(folder, hetzner, **others) as backend:
        backend.wait_until(lambda: len(backend.workers()) == 2, "two workers")
        assert backend.update(host, "198.51.100.1")["status"] == "created"
        page = backend.session.get(f"{backend.url}/", auth=OPERATOR, timeout=20)
        for path in re.findall(r"/static/[\w./-]+", page.text):
            assert backend.session.get(f"{backend.url}{path}", timeout=20).ok
    assert "Traceback" not in backend.output


def test_a_token_in_quotes_works_with_one_warning(
    hetzner: Hetzner, folder: Path, host: str
) -> None:
    with Backend(folder, hetzner, HETZNER_TOKEN=f'"{TOKEN}"') as backend:
        assert backend.update(host, "198.51.100.1")["status"] == "created"
    (line,) = (line for line in backend.output.splitlines() if "WARNING" in line)
    assert "WARNING HETZNER_TOKEN has quotes around its value" in line
    assert TOKEN not in backend.output


def test_other_users_cannot_read_the_created_files(hetzner: Hetzner, folder: Path) -> None:
    backend = Backend(
        folder, hetzner, LOG_FILE="logs/backend.log", LOG_MAX_BYTES="500", DEBUG_LOGGING="1"
    )
    theirs = backend.folder / "backend.log"  # the folder with the test's output
    backend.start()
    backend.wait_until((folder / "logs" / "backend.log.1").exists, "to rotate its log")
    backend.stop()
    made = {path for path in folder.rglob("*") if path != theirs}
    names = {str(path.relative_to(folder)) for path in made}
    assert {"hetzner-dyndns.db", "pre-shared-key", "logs/backend.log"} <= names
    assert [path for path in made if path.stat().st_mode & 0o077] == []
