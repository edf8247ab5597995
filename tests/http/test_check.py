"""The command `check`, with a sandbox for Hetzner and a server for ntfy."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, Iterator

import pytest

from backend import cli
from backend.auth.keys import KeyFile
from backend.model import Hostname
from backend.store import prepare_store
from sandbox import Sandbox
from tests.http.conftest import FIRST, READ_ONLY, SECOND, Console

HOME = "home.example.com"
SECRETS = {
    "BASIC_AUTH_PASSWORD": "the-operators-password",
    "NTFY_PASSWORD": "the-ntfy-password",
    "HETZNER_TOKEN": FIRST,
}


class Inbox(BaseHTTPRequestHandler):
    """An ntfy server that answers with `status`."""

    status = 200
    pushes: list[dict[str, Any]] = []  # noqa: RUF012

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.pushes.append(body)
        answer = json.dumps({"id": "x", "event": "message", **body}).encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def ntfy() -> Iterator[str]:
    Inbox.status, Inbox.pushes = 200, []
    server = HTTPServer(("127.0.0.1", 0), Inbox)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class Checked:
    """One run of the command."""

    def __init__(self, environ: dict[str, str], capture: pytest.CaptureFixture[str]) -> None:
        self.status = cli.run(["check", "--json"], environ)
        printed = capture.readouterr()
        self.progress = printed.err
        found = json.loads(printed.out)
        self.ok = found["ok"]
        self.lines = [
            (one["state"], one["what"], one["found"], one["hint"]) for one in found["checks"]
        ]
        for secret in (*SECRETS.values(), SECOND, READ_ONLY):
            assert secret not in printed.out + printed.err

    def of(self, what: str) -> list[tuple[str, str]]:
        """Return state and text of all lines about a subject."""
        return [(line[0], f"{line[2]} {line[3]}") for line in self.lines if line[1] == what]

    def worst(self, what: str) -> str:
        """Return the worst state of a subject, with text and hint."""
        (state, words) = max(self.of(what), key=lambda line: ["ok", "warn", "fail"].index(line[0]))
        return f"{state}: {words}"


class Setup:
    """A correct setup, which a test can change."""

    def __init__(self, folder: Path, sandbox: Sandbox, ntfy: str, capture: Any) -> None:  # noqa: ANN401
        self.capture = capture
        self.key_file = folder / "keys"
        self.database = folder / "store.db"
        self.environ = {
            **SECRETS,
            "HETZNER_API_URL": sandbox.http_url,
            "REGISTERED_FQDNS": HOME,
            "PRE_SHARED_KEY_FILE": str(self.key_file),
            "STATE_URL": f"sqlite:///{self.database}",
            "BASIC_AUTH_USERNAME": "operator",
            "NTFY_URL": ntfy,
            "NTFY_TOPIC": "topic",
            "NTFY_USERNAME": "user",
        }
        KeyFile(self.key_file).complete([Hostname(HOME)])
        prepare_store(self.environ["STATE_URL"])

    def check(self, **changes: str) -> Checked:
        return Checked({**self.environ, **changes}, self.capture)


@pytest.fixture
def setup(tmp_path: Path, sandbox: Sandbox, ntfy: str, capsys: pytest.CaptureFixture[str]) -> Setup:
    return Setup(tmp_path, sandbox, ntfy, capsys)


def test_a_correct_setup_passes_and_stays_unchanged(setup: Setup, sandbox: Sandbox) -> None:
    before = setup.key_file.read_bytes(), setup.database.read_bytes()
    checked = setup.check()
    assert {line[0] for line in checked.lines} == {"ok"}
    assert (checked.ok, checked.status) == (True, 0)
    assert (setup.key_file.read_bytes(), setup.database.read_bytes()) == before
    writes = [call.line for call in sandbox.calls() if not call.line.startswith("GET")]
    assert writes == ["DELETE /zones/hetzner-dyndns-check.invalid/rrsets/none/A"]
    assert [push["topic"] for push in Inbox.pushes] == ["topic"]


def test_counts_of_one_are_singular(setup: Setup) -> None:
    checked = setup.check(HETZNER_TOKEN=SECOND, REGISTERED_FQDNS="home.example.net")
    assert checked.of("settings") == [("ok", "1 host, 1 token. ")]
    assert checked.of("token 1 of 1")[0][1].startswith("The token can read 2 zones, ")
    checked = setup.check(HETZNER_TOKEN=FIRST)
    assert checked.of("token 1 of 1")[0][1].startswith("The token can read 1 zone, ")
    assert checked.of("key file") == [("ok", f"1 key in {setup.key_file}. ")]
    checked = setup.check(
        HETZNER_TOKEN=f"{FIRST},{SECOND}", REGISTERED_FQDNS=f"{HOME},home.example.net"
    )
    assert checked.of("settings") == [("ok", "2 hosts, 2 tokens. ")]


@pytest.mark.parametrize(
    "changes", [{"HETZNER_TOKEN": "x" * 64}, {"HETZNER_API_URL": "http://127.0.0.1:1"}]
)
def test_hosts_refer_to_the_failed_tokens(setup: Setup, changes: dict[str, str]) -> None:
    assert setup.check(**changes).worst("hosts") == (
        f"fail: No valid token has a zone for {HOME}. See the failed tokens above."
    )
    changes["REGISTERED_FQDNS"] = ",".join(f"h{number}.example.com" for number in range(1000))
    checked = setup.check(**changes)
    assert checked.of(HOME) == []
    assert checked.worst("hosts").startswith(
        "fail: No valid token has a zone for h0.example.com, h1.example.com,"
    )
    assert " and 995 more." in checked.worst("hosts")


def test_progress_goes_to_standard_error(setup: Setup) -> None:
    assert "checking token 1 of 1 …\n" in setup.check().progress


def test_the_default_output_is_a_table(setup: Setup) -> None:
    setup.capture.readouterr()
    assert cli.run(["check"], setup.environ) == 0
    table = setup.capture.readouterr().out
    assert table.splitlines()[0].split() == ["STATE", "WHAT", "FOUND"]
    assert "ok     zone example.com" in table


@pytest.mark.parametrize(
    ("changes", "what", "worst"),
    [
        ({"LISTEN_PORT": "x"}, "settings", "warn: LISTEN_PORT"),
        ({"HETZNER_TOKEN": ""}, "settings", "fail: HETZNER_TOKEN is missing"),
        (
            {"HETZNER_TOKEN": "x" * 64},
            "token 1 of 1",
            "fail: Hetzner refuses the call",
        ),
        ({"HETZNER_TOKEN": READ_ONLY}, "token 1 of 1", "fail: The token may not write."),
        ({"HETZNER_TOKEN": f"{FIRST},{'x' * 64}"}, "token 2 of 2", "fail: "),
        ({"HETZNER_API_URL": "http://127.0.0.1:1"}, "token 1 of 1", "fail: Hetzner's API"),
        ({"REGISTERED_FQDNS": "x.example.invalid"}, "x.example.invalid", "fail: No token has"),
        ({"NTFY_URL": "", "NTFY_TOPIC": "", "NTFY_USERNAME": ""}, "ntfy", "warn: Not set"),
        ({"NTFY_URL": "http://127.0.0.1:1"}, "ntfy", "fail: "),
        ({"STATE_URL": "nonsense"}, "store", "fail: STATE_URL can't be used"),
        ({"STATE_URL": "sqlite:////nowhere/x.db"}, "store", "fail: /nowhere/x.db doesn't exist"),
        ({"STATE_URL": f"sqlite:////{'x' * 300}"}, "store", "fail: STATE_URL: uid "),
        ({"PRE_SHARED_KEY_FILE": f"/{'x' * 300}"}, "key file", "fail: PRE_SHARED_KEY_FILE: can't"),
        ({"PRE_SHARED_KEY_FILE": "/nowhere/keys"}, "key file", "fail: /nowhere/keys doesn't exist"),
        (
            {"PRE_SHARED_KEY_FILE": "/"},
            "key file",
            "fail: PRE_SHARED_KEY_FILE: can't use /: it is a directory",
        ),
        ({"REGISTERED_FQDNS": f"{HOME},nas.example.com"}, "key file", "warn: No key for nas."),
    ],
)
def test_each_problem_has_a_hint_and_all_tests_run(
    setup: Setup, changes: dict[str, str], what: str, worst: str
) -> None:
    checked = setup.check(**changes)
    assert checked.worst(what).startswith(worst)
    assert checked.ok is not worst.startswith("fail")
    assert checked.status == (1 if worst.startswith("fail") else 0)
    if what != "settings":
        assert checked.of("settings")
        assert checked.of("ntfy")
    faulty = [line for line in checked.lines if line[0] == worst[:4] and line[1] == what]
    assert all(line[3] for line in faulty), "a hint is missing"


def test_a_refused_push_fails(setup: Setup) -> None:
    Inbox.status = 403
    assert setup.check().worst("ntfy").startswith("fail: ")


def test_files_that_the_first_start_creates_are_only_warnings(setup: Setup) -> None:
    setup.key_file.unlink()
    setup.database.unlink()
    checked = setup.check()
    assert checked.ok
    assert checked.worst("key file").startswith("warn: ")
    assert checked.worst("store").startswith("warn: ")
    assert not setup.key_file.exists()
    assert not setup.database.exists()


def test_a_store_of_another_version_fails(setup: Setup, tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    checked = setup.check(STATE_URL=f"sqlite:///{tmp_path / 'empty.db'}")
    assert checked.worst("store").startswith("fail: ")


def test_a_cname_record_fails_only_its_host(setup: Setup, console: Console) -> None:
    body = {"name": "home", "type": "CNAME", "records": [{"value": "other.example.com."}]}
    console.changes("POST", "/zones/example.com/rrsets", body)
    hosts = f"{HOME},nas.example.com,example.com"
    checked = setup.check(REGISTERED_FQDNS=hosts)
    assert checked.worst(HOME) == (
        "fail: The host has a CNAME record, so it can't have addresses. "
        "Delete the CNAME record at Hetzner."
    )
    assert checked.worst("nas.example.com").startswith("ok: ")
    assert checked.worst("example.com").startswith("ok: ")


def test_several_records_of_a_host_are_a_warning(setup: Setup, sandbox: Sandbox) -> None:
    sandbox.publish(HOME, "A", "198.51.100.1", "198.51.100.2")
    sandbox.publish(HOME, "AAAA", "2001:db8::1")
    checked = setup.check()
    assert checked.ok
    assert checked.worst(HOME).startswith(
        "warn: The host has several A records: 198.51.100.1, 198.51.100.2. The next update"
    )


def test_a_zone_that_hetzner_cannot_publish_fails(setup: Setup, sandbox: Sandbox) -> None:
    zone = {"name": "example.com", "mode": "primary", "status": "error"}
    page = {"zones": [zone], "meta": {"pagination": {"next_page": None}}}
    sandbox.fail(200, body=json.dumps(page), path="/zones", count=None)
    assert setup.check().worst("zone example.com").startswith("fail: Hetzner can't publish")


@pytest.mark.parametrize(
    ("delegation", "state"),
    [("valid", "ok"), ("lame", "fail"), ("invalid", "fail"), ("unknown", "warn"), ("new", "warn")],
)
def test_an_undelegated_zone_fails(
    setup: Setup, sandbox: Sandbox, delegation: str, state: str
) -> None:
    zone = {
        "name": "example.com",
        "mode": "primary",
        "authoritative_nameservers": {"delegation_status": delegation},
    }
    page = {"zones": [zone], "meta": {"pagination": {"next_page": None}}}
    sandbox.fail(200, body=json.dumps(page), path="/zones", count=None)
    assert setup.check().worst("zone example.com").startswith(f"{state}: Delegation: {delegation}")


def test_readable_and_short_keys_are_warnings(setup: Setup) -> None:
    setup.key_file.write_text(f"{HOME} s3cr3t\n")
    setup.key_file.chmod(0o644)
    lines = setup.check().of("key file")
    assert [state for state, _ in lines] == ["warn", "warn", "ok"]
    assert f"The key of {HOME} has fewer than 16 characters" in lines[0][1]
    assert "chmod 600" in lines[1][1]
    assert not any("s3cr3t" in text for line in lines for text in line)


def test_many_passed_checks_are_one_line(
    sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"h{number}.example.com" for number in range(1000)]
    environ = {
        "HETZNER_TOKEN": FIRST,
        "HETZNER_API_URL": sandbox.http_url,
        "REGISTERED_FQDNS": ",".join([*names, "home.example.invalid"]),
        "PRE_SHARED_KEY_FILE": str(tmp_path / "pre-shared-key"),
        "STATE_URL": f"sqlite:///{tmp_path / 'state.db'}",
    }
    assert cli.run(["check"], environ) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 25
    assert any(line.startswith("fail") and "home.example.invalid" in line for line in lines)
    assert any(line.startswith("ok     100") and "others" in line for line in lines)
    assert lines[-1].endswith("1 fail.")
