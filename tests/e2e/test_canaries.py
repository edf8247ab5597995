"""No secret of the settings appears in any output, whichever part fails."""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import json
import os
import re
import signal
import socket
import sqlite3
import sys
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest
import requests

from sandbox import Sandbox
from tests.e2e import buggy
from tests.e2e.fake_ntfy import FakeNtfy
from tests.e2e.processes import ROOT, Program, run, until
from tests.ports import free_port

HAS_APPRISE = importlib.util.find_spec("apprise") is not None
# A word that appears nowhere else: not in a folder name, not in a message.
MARK = "zeisig"
HOME, NAS, LAB, SILENT = (f"{name}.example.com" for name in ("home", "nas", "lab", "silent"))
# One host per fault, because only the first error of a host is reported.
UNLUCKY = [f"unlucky{number}.example.com" for number in range(15)]
ORG = "host.example.org"  # the token of its zone is read-only
HOSTS = (HOME, NAS, LAB, SILENT, ORG, buggy.HOST, *UNLUCKY)
# All pages; add new pages here.
PAGES = ("/", "/metrics", "/healthz", "/ip", "/openapi.json", f"/hosts/{HOME}", "/nothing")


def marked(name: str, length: int = 0) -> str:
    return f"{MARK}-{name}".ljust(length, "0")


TOKENS = [f"{MARK}token{number}".ljust(64, "0") for number in range(2)]
UNKNOWN_TOKEN = f"{MARK}oldtoken".ljust(32, "0")
OPERATOR = ("operator", marked("operators-password"))


def key_of(host: str) -> str:
    return marked(f"key-of-{host.partition('.')[0]}", 24)


def forms() -> list[bytes]:
    """Return the encodings of the mark: plain, Base64 at each offset, hex."""
    mark = MARK.encode()
    found = [mark, mark.hex().encode()]
    for shift in range(3):
        # Only whole characters of the mark: a shorter part could occur in a random text.
        first, end = -(-8 * shift // 6), 8 * (shift + len(mark)) // 6
        found.append(base64.b64encode(b"x" * shift + mark)[first:end])
    return found


def lines_with_mark(text: bytes) -> list[bytes]:
    """Return every line that contains the mark."""
    return [
        line
        for line in text.splitlines()
        if MARK.encode() in line.lower() or any(form in line for form in forms())
    ]


class Caller:
    """A caller that keeps every byte of the answers."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.answers: list[bytes] = []
        self.statuses: list[tuple[int, str]] = []

    def send(self, method: str, path: str, **how: Any) -> None:  # noqa: ANN401
        with requests.Session() as session:
            session.trust_env = False
            url = f"http://127.0.0.1:{self._port}{path}"
            answer = session.request(method, url, timeout=20, allow_redirects=False, **how)
        headers = "".join(f"{name}: {value}\n" for name, value in answer.headers.items())
        self.answers.append(f"{path}\n{headers}".replace(path, "").encode() + answer.content)
        word = answer.text.strip().partition(" ")[0]
        with contextlib.suppress(ValueError):
            output = json.loads(answer.text)
            word = (
                output.get("code", output.get("status", "")) if isinstance(output, dict) else word
            )
        self.statuses.append((answer.status_code, word))

    def update(self, host: str, ip: str, key: str | None = None) -> None:
        headers = {"X-Pre-Shared-Key": key or key_of(host)}
        self.send("POST", "/update", json={"fqdn": host, "ip": ip}, headers=headers)

    def send_raw(self, request: bytes) -> None:
        with socket.create_connection(("127.0.0.1", self._port), timeout=20) as connection:
            connection.sendall(request)
            self.answers.append(connection.recv(65536))


class Backend(Program):
    """The service with a mark in every secret, and a bug."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.port = free_port()
        self.key_file = folder / "pre-shared-key"
        settings = {
            "REGISTERED_FQDNS": ",".join(HOSTS),
            "PYTHONFAULTHANDLER": "1",
            "BASIC_AUTH_USERNAME": OPERATOR[0],
            "BASIC_AUTH_PASSWORD": OPERATOR[1],
            "LISTEN_ADDRESS": "127.0.0.1",
            "LISTEN_PORT": str(self.port),
            "ALLOW_PRIVATE_ADDRESSES": "1",
            "ACME_DNS": "1",
            "AUTH_FAILURE_LIMIT": "5",
            "DEBUG_LOGGING": "1",
            "LOG_FILE": str(folder / "logs" / "log"),
            "LOG_MAX_BYTES": "20000",
            "LOG_BACKUP_COUNT": "50",
            "NOTIFY_ON_CHANGE": "1",
            "LOST_CONNECTION_TIMEOUT": "2",
            "CONNECTION_CHECK_INTERVAL": "1",
            "REQUEST_CACHE_TTL": "0",
            **variables,
        }
        super().__init__("backend", ["-m", "tests.e2e.buggy"], folder, **settings)

    def start(self) -> None:
        keys = "".join(f"{host} {key_of(host)}\n" for host in HOSTS)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.key_file.write_text(f"{keys}# a comment\n", encoding="utf-8")
        os.utime(self.key_file, (0, 0))  # an old time skips the wait for the end of an edit
        super().start()
        self.wait_until(self.answers, "to answer")

    def answers(self) -> bool:
        # The master process listens before it handles signals and before it has workers.
        if "starts on port" not in self.output:
            return False
        try:
            return requests.get(f"http://127.0.0.1:{self.port}/ip", timeout=20).ok
        except requests.ConnectionError:
            return False

    def processes(self) -> list[Path]:
        """Return the processes of the service, as the operating system shows them."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text("ascii")
        return [Path(f"/proc/{pid}") for pid in (str(self.pid), *children.split())]

    def titles(self) -> bytes:
        """Return the command line of each process, as `ps` shows it."""
        named = [process / name for process in self.processes() for name in ("cmdline", "status")]
        return b"\n".join(path.read_bytes().replace(b"\0", b" ") for path in named)

    def logs(self) -> bytes:
        return b"\n".join(path.read_bytes() for path in sorted((self.folder / "logs").iterdir()))

    def store(self) -> bytes:
        """Return all bytes of the store, including deleted rows that were not overwritten."""
        return b"\n".join(path.read_bytes() for path in self.folder.glob("hetzner-dyndns.db*"))


WRITE = {"method": "POST", "path": "/zones/example.com/rrsets*"}
READ = {"method": "GET", "path": "/zones/example.com/rrsets"}
_ECHO = {"error": {"code": "invalid_input", "message": f"Bearer {TOKENS[0]} {UNKNOWN_TOKEN}"}}
FAULTS: list[dict[str, Any]] = [
    {**READ, "status": 401, "code": "unauthorized"},
    {**READ, "status": 403, "code": "forbidden"},
    {**WRITE, "status": 422, "code": "protected"},
    {**READ, "status": 429, "code": "rate_limit_exceeded"},
    {**READ, "status": 500},
    {**WRITE, "status": 503, "code": "unavailable"},
    {**READ, "html": True},
    {**READ, "location": f"https://console.example/?token={TOKENS[0]}"},
    {**WRITE, "status": 422, "body": json.dumps(_ECHO).replace(f" {UNKNOWN_TOKEN}", "")},
    {**READ, "status": 400, "body": json.dumps({"error": {"code": TOKENS[0], "message": ""}})},
    {**READ, "status": 200, "body": TOKENS[0], "headers": {"Content-Type": TOKENS[0]}},
    {**READ, "body": '{"rrsets": [' + TOKENS[0]},
    {**READ, "body": '{"hello": [1]}'},
    {**READ, "drop": True},
    {**WRITE, "after": True},
]


def send_valid_requests(caller: Caller) -> None:
    """Send successful updates with every kind of login."""
    caller.update(HOME, "198.51.100.1")
    caller.update(HOME, "198.51.100.1")
    caller.update(HOME, "2001:db8::1")
    login = {"auth": ("home", key_of(HOME))}
    caller.send("GET", f"/nic/update?hostname={HOME}&myip=198.51.100.2", **login)
    in_query = f"/nic/update?hostname={HOME}&user=home&pass={key_of(HOME)}&myip=198.51.100.3"
    caller.send("GET", in_query)
    caller.send("POST", "/nic/update", data={"hostname": HOME, "user": "home"}, **login)
    caller.send("DELETE", "/update", json={"fqdn": HOME, "type": "AAAA"}, **login)
    caller.send("POST", "/update", data={"fqdn": NAS, "ip": "198.51.100.4"}, auth=OPERATOR)
    caller.send("POST", "/update", json={"fqdn": "x.example.com"}, auth=OPERATOR)
    caller.update(SILENT, "198.51.100.5")
    caller.update(ORG, "198.51.100.6")
    caller.update(buggy.HOST, "198.51.100.7")
    bug = {"auth": ("bug", key_of(buggy.HOST))}
    caller.send("GET", f"/nic/update?hostname={buggy.HOST}", **bug)


VALUE = "LHDhK3oGRvkiefQnx7OOczTY5Tic_xZ6HcMOc_gmtoM"


def send_challenges(caller: Caller, sandbox: Sandbox) -> None:
    """Set texts for certificates, with right and wrong logins and values."""
    login, wrong = {"auth": ("home", key_of(HOME))}, marked("wrong-key")
    body = {"fqdn": f"_acme-challenge.{HOME}.", "value": VALUE}
    for path in ("/acme/present", "/acme/cleanup"):
        caller.send("POST", path, json=body, **login)
        caller.send("POST", path, json=body, auth=("home", wrong))
        for field in ("fqdn", "value", "keyAuth"):
            caller.send("POST", path, json={**body, field: wrong}, **login)
    for key in (key_of(NAS), wrong):
        headers = {"X-Api-User": "nas", "X-Api-Key": key}
        for value in (VALUE, wrong):
            update = {"subdomain": NAS, "txt": value}
            caller.send("POST", "/acme-dns/update", json=update, headers=headers)
    echo = json.dumps(_ECHO).replace(f" {UNKNOWN_TOKEN}", "")
    sandbox.fail(status=422, body=echo, method="POST", path="*/add_records")
    caller.send("POST", "/acme/present", json={**body, "value": VALUE[::-1]}, **login)


def send_invalid_requests(caller: Caller) -> None:
    """Send secrets in the wrong place, and wrong secrets."""
    wrong = marked("wrong-key")
    for field in ("fqdn", "ip", "type", "url"):
        fields = {"fqdn": HOME, field: wrong}
        for how in ({"json": fields}, {"data": fields}, {"json": {**fields, field: [wrong]}}):
            headers = {"X-Pre-Shared-Key": key_of(HOME)}
            caller.send("POST", "/update", headers=headers, **how)
    for query in (f"hostname={wrong}", f"hostname={HOME}&myip={wrong}", wrong):
        caller.send("GET", f"/nic/update?{query}", auth=("home", key_of(HOME)))
        caller.send("GET", f"/nic/update?{query}&user={wrong}&pass={wrong}")
    for number in range(8):
        caller.update(LAB, "198.51.100.1", wrong)
        caller.send("GET", f"/nic/update?hostname={LAB}&myip=1.2.3.{number}", auth=("lab", wrong))
        caller.send("GET", "/nic/update", auth=(wrong, wrong))
    for header in (f"Basic {wrong}", f"Bearer {wrong}", wrong):
        caller.send("GET", "/nic/update", headers={"Authorization": header})
    for body in (wrong, f'"{wrong}"', f'{{"fqdn": "{wrong}', wrong * 3000):
        caller.send("POST", "/update", data=body, auth=("home", key_of(HOME)))
    for lines in (
        f"GET /nic/update?pass={wrong} HTP/1.1",
        f"{wrong} / HTTP/1.1",
        f"GET /ip HTTP/1.1\r\nAuthorization Basic {wrong}",
        f"GET /ip HTTP/1.1\r\nHost: x\r\nContent-Length: {wrong}",
        f"POST /update HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{wrong}",
    ):
        caller.send_raw(f"{lines}\r\n\r\n".encode())


def fail_hetzner(caller: Caller, sandbox: Sandbox) -> None:
    """Fail in every way."""
    for host, fault in zip(UNLUCKY, FAULTS):
        sandbox.fail(**fault)
        caller.update(host, "203.0.113.1")
    sandbox.actions_end("error", count=1)
    caller.update(HOME, "203.0.113.200")


def fail_ntfy(caller: Caller, ntfy: FakeNtfy, backend: Backend) -> None:
    """Fail in every way."""
    for number, (status, text) in enumerate(
        [(401, "ntfy refuses pushes"), (302, "Not pushed"), (500, ""), (0, "")]
    ):
        ntfy.status = status
        before = len(ntfy.pushes)
        caller.update(HOME, f"192.0.2.{number}")
        # After a final refusal the next push is sent; at the end, one push waits for its retry.
        backend.wait_until(
            lambda: text in backend.output and (status < 500 or len(ntfy.pushes) > before),  # noqa: B023
            f"ntfy's {status} to be met",
        )


def fail_disk(caller: Caller, backend: Backend) -> None:
    """Make the store and the key file fail."""
    lock = sqlite3.connect(str(backend.folder / "hetzner-dyndns.db"), isolation_level=None)
    with contextlib.closing(lock):
        lock.execute("BEGIN IMMEDIATE")
        caller.update(HOME, "192.0.2.99")
        # The update may only have waited for another thread, which waits for the lock.
        backend.wait_until(lambda: "database is locked" in backend.output, "the lock to be met")
    backend.key_file.write_text(f"{marked('not-a-key')}\n", encoding="utf-8")

    def is_reported() -> bool:
        caller.update(NAS, "192.0.2.98")
        return "line 1 isn't" in backend.output

    backend.wait_until(is_reported, "the key file to count as broken")
    backend.key_file.unlink()
    backend.key_file.mkdir()
    caller.update(NAS, "192.0.2.97")


def open_all_pages(caller: Caller) -> None:
    for page in PAGES:
        caller.send("GET", page)
        caller.send("GET", page, auth=OPERATOR)
        caller.send("GET", page, auth=("operator", marked("wrong-password")))


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return all output, by its channel."""
    folder = tmp_path_factory.mktemp("service")
    with running(folder, NTFY_TOKEN=marked("ntfy-token")) as (backend, sandbox, ntfy):
        return collect_outputs(backend, sandbox, ntfy)


@contextlib.contextmanager
def running(folder: Path, **login: str) -> Iterator[tuple[Backend, Sandbox, FakeNtfy]]:
    """Run the service with a sandbox and ntfy, each with a login in its URL."""
    ntfy = FakeNtfy()
    zones = [f"example.com={TOKENS[0]}", f"example.org={TOKENS[1]}"]
    with Sandbox(zones, TOKENS[:1], read_only_tokens=TOKENS[1:], action_seconds=0.1) as sandbox:
        backend = Backend(folder, **settings(sandbox, ntfy, folder), **login)
        backend.start()
        try:
            yield backend, sandbox, ntfy
        finally:
            if backend.is_running:
                backend.kill()
            ntfy.stop()


def settings(sandbox: Sandbox, ntfy: FakeNtfy, folder: Path) -> dict[str, str]:
    user = f"user:{marked('password-in-a-url')}@"
    token_file = folder / "token-file"
    token_file.write_text(",".join([*TOKENS, UNKNOWN_TOKEN]), encoding="utf-8")
    return {
        "HETZNER_TOKEN_FILE": str(token_file),
        "HETZNER_API_URL": sandbox.http_url.replace("http://", f"http://{user}"),
        "NTFY_URL": f"http://{user}127.0.0.1:{ntfy.port}",
        "NTFY_TOPIC": "dyndns",
        "HEARTBEAT_URL": f"http://127.0.0.1:1/{marked('heartbeat-key')}",
        **({"NOTIFY_URLS": f"json://127.0.0.1:1/{marked('webhook-key')}"} if HAS_APPRISE else {}),
    }


def collect_outputs(backend: Backend, sandbox: Sandbox, ntfy: FakeNtfy) -> dict[str, bytes]:
    caller = Caller(backend.port)
    send_valid_requests(caller)
    send_challenges(caller, sandbox)
    send_invalid_requests(caller)
    fail_hetzner(caller, sandbox)
    backend.wait_until(lambda: "could not publish the record" in backend.output, "an action's end")
    backend.wait_until(lambda: any(b"lost" in push for push in ntfy.pushes), "a lost host")
    backend.wait_until(
        lambda: any(b"Failed logins" in push for push in ntfy.pushes), "a push about failed logins"
    )
    open_all_pages(caller)
    titles = backend.titles()
    fail_ntfy(caller, ntfy, backend)
    store = backend.store()
    fail_disk(caller, backend)
    os.kill(int(backend.processes()[1].name), signal.SIGSEGV)
    backend.wait_until(lambda: "Fatal Python error" in backend.output, "a report of the crash")
    os.kill(backend.pid, signal.SIGTERM)
    until(lambda: not backend.is_running, "the end", lambda: backend.output)
    calls = [f"{call.line} {call.body}" for call in sandbox.calls()]
    assert any(login.startswith("Bearer") for login in ntfy.logins)
    return {
        "output": backend.output.encode(),
        "log files": backend.logs(),
        "answers": b"\n".join(caller.answers),
        "statuses": repr(caller.statuses).encode(),
        "pushes": b"\n".join(ntfy.pushes),
        "calls": "\n".join(calls).encode(),
        "store": store,
        "process titles": titles,
    }


CHANNELS = ("output", "log files", "answers", "statuses", "pushes", "calls", "store")


@pytest.mark.parametrize("channel", [*CHANNELS, "process titles"])
def test_no_channel_contains_a_secret(outputs: dict[str, bytes], channel: str) -> None:
    assert len(outputs[channel]) > 100
    assert lines_with_mark(outputs[channel]) == []


def test_the_password_of_ntfy_is_in_no_channel(tmp_path: Path) -> None:
    login = {"NTFY_USERNAME": "me", "NTFY_PASSWORD": marked("ntfy-password")}
    with running(tmp_path, **login) as (backend, sandbox, ntfy):
        caller = Caller(backend.port)
        caller.update(HOME, "198.51.100.1")
        until(lambda: ntfy.pushes, "a push", lambda: backend.output)
        fail_ntfy(caller, ntfy, backend)
        for page in PAGES:
            caller.send("GET", page, auth=OPERATOR)
        channels = [backend.output.encode(), backend.logs(), backend.store(), backend.titles()]
        channels += [*caller.answers, *ntfy.pushes]
        channels += [f"{call.line} {call.body}".encode() for call in sandbox.calls()]
    assert all(login.startswith("Basic") for login in ntfy.logins)
    assert "No push gets through to ntfy" in backend.output
    assert lines_with_mark(b"\n".join(channels)) == []


# Evidence that each scenario has happened.
TRACES = (
    ("output", "host.example.org A can't be published. Hetzner refuses the call (token_readonly"),
    ("output", "a token of 32 characters is for Hetzner"),
    ("output", "A request to /update failed"),
    ("output", "A request to /nic/update failed"),
    ("output", "RuntimeError: [None, '(secret)"),
    ("output", "Failed login from 127.0.0.1 for "),
    ("output", "Too many failed logins for "),
    ("output", "(token)"),
    ("output", "is lost: no update for"),
    ("output", "Hetzner could not publish the record"),
    ("output", "ntfy refuses pushes"),
    ("output", "The store can't be used (database is locked)"),
    ("output", "line 1 isn't `<fqdn> <key>`"),
    ("output", "The keys read before stay in use."),
    ("output", "Fatal Python error: Segmentation fault"),
    ("output", "No push gets through to ntfy"),
    ("output", "home.example.com: a certificate challenge from 127.0.0.1 is published"),
    ("output", "home.example.com: a certificate challenge failed. Hetzner refuses the call"),
    ("log files", "A request to /update failed"),
    ("answers", "hetzner_refused"),
    ("answers", "invalid_fqdn"),
    ("statuses", "(200, 'good')"),
    ("statuses", "(200, 'published')"),
    ("statuses", "(200, 'removed')"),
    ("statuses", "(200, 'deleted')"),
    ("statuses", "(403, 'fqdn_not_allowed')"),
    ("statuses", "(413, 'too_large')"),
    ("statuses", "(429, 'too_many_failures')"),
    ("statuses", "(500, 'internal')"),
    ("statuses", "(502, 'hetzner_refused')"),
    ("statuses", "(503, 'unavailable')"),
    ("pushes", " lost"),
    ("pushes", "Failed logins for lab.example.com"),
    ("pushes", "can't be updated"),
    ("store", "home.example.com"),
    ("process titles", "tests.e2e.buggy"),
)


def test_every_fault_has_its_host() -> None:
    assert len(FAULTS) == len(UNLUCKY)


def test_all_scenarios_have_happened(outputs: dict[str, bytes]) -> None:
    missing = [
        (channel, words) for channel, words in TRACES if words.encode() not in outputs[channel]
    ]
    assert missing == [], outputs["output"].decode("utf-8", "replace")[-20000:]


@pytest.mark.parametrize("form", forms())
def test_the_search_finds_every_encoding_of_a_mark(form: bytes) -> None:
    assert lines_with_mark(b"a\nb" + form + b"c\n") == [b"b" + form + b"c"]


PASSWORD = marked("password")
GOOD = {"HETZNER_TOKEN": TOKENS[0], "REGISTERED_FQDNS": HOME, "LISTEN_PORT": "1"}
UNUSABLE: dict[str, dict[str, str]] = {
    "a token with a blank": {"HETZNER_TOKEN": f"{TOKENS[0]} {TOKENS[1]}"},
    "a token that is no ASCII": {"HETZNER_TOKEN": f"{TOKENS[0]}é"},
    "a file that is a directory": {"HETZNER_TOKEN": "", "HETZNER_TOKEN_FILE": "/"},
    "a URL with another scheme": {"HETZNER_API_URL": f"ftp://me:{PASSWORD}@example.com"},
    "a URL with a bad port": {"HETZNER_API_URL": f"https://me:{PASSWORD}@example.com:x"},
    "a URL without a host": {"NTFY_URL": f"https://me:{PASSWORD}@", "NTFY_TOPIC": "t"},
    "a password alone": {"BASIC_AUTH_PASSWORD": PASSWORD},
    "a user with a colon": {"BASIC_AUTH_USERNAME": "a:b", "BASIC_AUTH_PASSWORD": PASSWORD},
    "a URL for another database": {"STATE_URL": f"mysql://me:{PASSWORD}@127.0.0.1/db"},
    "a URL without sense": {"STATE_URL": f"postgresql+psycopg://me:{PASSWORD}@127.0.0.1:port/db"},
    "a URL that is a path": {"STATE_URL": f"me:{PASSWORD}@127.0.0.1"},
    "an unknown driver": {"STATE_URL": f"postgresql+nothing://me:{PASSWORD}@127.0.0.1/db"},
    "an unreachable database": {
        "STATE_URL": f"postgresql+psycopg://me:{PASSWORD}@127.0.0.1:1/db?connect_timeout=1"
    },
    "a folder that isn't there": {"STATE_URL": f"sqlite:////nowhere/x.db?timeout={PASSWORD}"},
    "an unusable listen address": {"LISTEN_ADDRESS": "nowhere.invalid"},
}
KEY_FILES = {
    "half a line": f"{marked('key')}\n".encode(),
    "a line too long": f"{HOME} {marked('key')} {marked('key')}\n".encode(),
    "no host": f"{marked('key')} {HOME}\n".encode(),
    "no text": f"{HOME} {marked('key')}".encode() + b"\xff",
}


@pytest.mark.parametrize("what", UNUSABLE)
@pytest.mark.parametrize("debug", ["0", "1"])
def test_a_start_that_fails_logs_no_secret(
    refused_start: Callable[..., str], what: str, debug: str
) -> None:
    output = refused_start(**{**GOOD, "DEBUG_LOGGING": debug, **UNUSABLE[what]})
    assert "hetzner-dyndns can't start." in output
    assert lines_with_mark(output.encode()) == []


@pytest.mark.parametrize("what", KEY_FILES)
def test_a_start_with_a_bad_key_file_logs_no_key(
    refused_start: Callable[..., str], tmp_path: Path, what: str
) -> None:
    key_file = tmp_path / "pre-shared-key"
    key_file.write_bytes(KEY_FILES[what])
    os.utime(key_file, (0, 0))  # an old time skips the wait for the end of an edit
    output = refused_start(**GOOD)
    assert "PRE_SHARED_KEY_FILE" in output
    assert lines_with_mark(output.encode()) == []


def test_the_password_of_a_proxy_is_not_logged(tmp_path: Path) -> None:
    proxy = f"http://me:{PASSWORD}@127.0.0.1:1"
    proxies = {"HTTPS_PROXY": proxy, "https_proxy": proxy, "HETZNER_TOKEN": TOKENS[0]}
    backend = Backend(tmp_path / "proxied", **proxies)
    backend.start()
    try:
        caller = Caller(backend.port)
        caller.update(HOME, "198.51.100.1")
        assert caller.statuses == [(503, "unavailable")]
        assert "the proxy doesn't answer" in backend.output
        shown = backend.output.encode() + caller.answers[0] + backend.store() + backend.logs()
        assert lines_with_mark(shown) == []
    finally:
        backend.stop()


def test_a_crash_leaves_no_core_with_every_secret_in_it(tmp_path: Path) -> None:
    backend = Backend(tmp_path / "limited", HETZNER_TOKEN=TOKENS[0])
    backend.start()
    try:
        for process in backend.processes():
            (cores,) = re.findall(
                "Max core file size +([0-9]+) +([0-9]+)", (process / "limits").read_text()
            )
            assert cores == ("0", "0")
    finally:
        backend.stop()


CLIENTS: dict[str, list[str]] = {
    "no server": ["http://127.0.0.1:1"],
    "no such name": ["http://nowhere.invalid"],
    "no TLS": ["https://127.0.0.1:{port}"],
    "a login in the URL": [f"http://me:{PASSWORD}@127.0.0.1:{{port}}"],
    "an invalid URL": [f"me:{PASSWORD}@127.0.0.1"],
    "a wrong key": ["http://127.0.0.1:{port}"],
}


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    variables = {"HETZNER_TOKEN": TOKENS[0], "HETZNER_API_URL": "http://127.0.0.1:1"}
    backend = Backend(tmp_path_factory.mktemp("quiet"), **variables)
    backend.start()
    yield backend
    backend.stop()


@pytest.mark.parametrize("what", CLIENTS)
def test_the_client_prints_no_key_on_failure(quiet: Backend, tmp_path: Path, what: str) -> None:
    (url,) = CLIENTS[what]
    command = [sys.executable, str(ROOT / "client" / "update_dns.py"), url.format(port=quiet.port)]
    key = marked("clients-key")
    ended = run([*command, HOME], tmp_path, PRE_SHARED_KEY=key, INTERVAL="0")
    assert ended.returncode != 0
    assert len(ended.stdout + ended.stderr) > 10
    assert lines_with_mark((ended.stdout + ended.stderr).encode()) == []


def test_the_client_prints_no_key_during_an_outage(quiet: Backend, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"{key_of(HOME)}\n", encoding="utf-8")
    command = [sys.executable, str(ROOT / "client" / "update_dns.py")]
    url = f"http://127.0.0.1:{quiet.port}"
    variables = {"PRE_SHARED_KEY_FILE": str(keys), "INTERVAL": "0", "BACKEND_URL": url}
    ended = run(command, tmp_path, FQDN=HOME, IP="198.51.100.1", **variables)
    assert "503" in ended.stdout + ended.stderr or "Hetzner" in ended.stdout + ended.stderr
    assert lines_with_mark((ended.stdout + ended.stderr).encode()) == []
