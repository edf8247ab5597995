"""Notifications by mail, webhook and ntfy at once; a channel that fails disturbs no other."""

from __future__ import annotations

import contextlib
import email
import email.policy
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable, ClassVar, Iterator

import pytest

from backend.notify.channels import AppriseChannel
from backend.notify.reporter import Push
from tests.e2e.fake_ntfy import FakeNtfy
from tests.e2e.processes import HOSTS, Backend, Hetzner, run, until
from tests.ports import free_port

controller = pytest.importorskip("aiosmtpd.controller")
smtp = pytest.importorskip("aiosmtpd.smtp")
pytest.importorskip("apprise")

NAS = HOSTS[0]
MATTERMOSTS_LIMIT = 4000
PASSWORD, KEY = "the-mail-p@ssword", "the-webhooks-secret-key"

pytestmark = pytest.mark.real()


class Mailbox:
    """A real SMTP server with a login."""

    def __init__(self) -> None:
        self.mails: list[Any] = []
        self.logins: list[tuple[str, str]] = []
        self._server = controller.Controller(
            self,
            hostname="127.0.0.1",
            port=free_port(),
            auth_required=False,
            authenticator=self._login,
            auth_require_tls=False,
            decode_data=False,
        )
        self._server.start()
        self.url = (
            f"mailto://me:the-mail-p%40ssword@127.0.0.1:{self._server.port}"
            "?from=dyndns@example.com&to=owner@example.com"
        )

    def _login(self, *given: Any) -> Any:  # noqa: ANN401
        data = given[-1]
        self.logins.append((data.login.decode(), data.password.decode()))
        return smtp.AuthResult(success=True)

    async def handle_DATA(self, _server: object, _session: object, envelope: Any) -> str:  # noqa: ANN401, N802
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return "250 OK"

    def stop(self) -> None:
        self._server.stop()


class Webhook(ThreadingHTTPServer):
    """Receives JSON; `behaviour` is ``ok``, ``refuse``, ``busy``, ``hang`` or ``flood``."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Exchange)
        self.daemon_threads = True
        self.behaviour = "ok"
        self.calls: list[dict[str, Any]] = []
        self.is_over = threading.Event()
        self.url = f"json://127.0.0.1:{self.server_address[1]}/{KEY}"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def titles(self) -> list[str]:
        return [call["title"] for call in self.calls]

    def stop(self) -> None:
        self.is_over.set()
        self.shutdown()
        self.server_close()


class _Exchange(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.path == f"/{KEY}"
        self.server.calls.append(json.loads(body))
        if self.server.behaviour == "hang":
            self.server.is_over.wait(60)
        self.send_response({"refuse": 403, "busy": 429}.get(self.server.behaviour, 200))
        self.send_header("Retry-After", "3600")
        self.end_headers()
        while self.server.behaviour == "flood" and not self.server.is_over.is_set():
            try:
                self.wfile.write(b"x" * 1024 * 1024)
            except OSError:
                return

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def ntfy() -> Iterator[FakeNtfy]:
    ntfy = FakeNtfy()
    yield ntfy
    ntfy.stop()


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    mailbox = Mailbox()
    yield mailbox
    mailbox.stop()


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    webhook = Webhook()
    yield webhook
    webhook.stop()


def variables(ntfy: FakeNtfy, *urls: str) -> dict[str, str]:
    url = f"http://127.0.0.1:{ntfy.port}"
    return {
        "NTFY_URL": url,
        "NTFY_TOPIC": "dyndns",
        "NOTIFY_ON_CHANGE": "1",
        "NOTIFY_URLS": ",".join(urls),
        "DEBUG_LOGGING": "1",
    }


def test_a_push_arrives_by_mail_webhook_and_ntfy(
    hetzner: Hetzner, tmp_path: Path, ntfy: FakeNtfy, mailbox: Mailbox, webhook: Webhook
) -> None:
    settings = variables(ntfy, mailbox.url, webhook.url)
    with Backend(tmp_path, hetzner, **settings) as backend:
        backend.update(NAS, "198.51.100.1")
        until(
            lambda: mailbox.mails and webhook.calls and ntfy.pushes,
            "pushes",
            lambda: backend.output,
        )
        output = backend.output
    (mail,) = mailbox.mails
    assert mail["Subject"] == f"{NAS} has a new address"
    assert "none -> 198.51.100.1" in mail.get_body(("plain", "html")).get_content().replace(
        "&gt;", ">"
    )
    assert mailbox.logins == [("me", PASSWORD)]
    assert webhook.titles() == [f"{NAS} has a new address"]
    assert "none -> 198.51.100.1" in webhook.calls[0]["message"]
    for secret in (PASSWORD, "p%40ssword", KEY):
        assert secret not in output


def command_lines() -> str:
    """Return what every user of this machine sees of its processes."""
    found = ""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            found += file.read_text(errors="replace")
    return found


@pytest.mark.parametrize("behaviour", ["hang", "refuse", "busy", "flood"])
def test_a_failing_channel_delays_no_update_and_no_other_channel(
    hetzner: Hetzner, tmp_path: Path, ntfy: FakeNtfy, webhook: Webhook, behaviour: str
) -> None:
    good = Webhook()
    webhook.behaviour = behaviour
    settings = variables(ntfy, webhook.url, good.url)
    with Backend(tmp_path, hetzner, **settings) as backend:
        backend.update(NAS, "198.51.100.2")
        until(lambda: webhook.calls, "the failing channel", lambda: backend.output)
        if behaviour == "hang":  # the process of the library runs
            shown = command_lines()
            assert "backend.notify.apprise" in shown
            assert KEY not in shown
        backend.update(NAS, "198.51.100.3")
        until(lambda: good.calls and ntfy.pushes, "the others", lambda: backend.output)
        until(
            lambda: "No push gets through to channel 1 (" in backend.output,
            "a word of it",
            lambda: backend.output,
        )
        backend.update(NAS, "198.51.100.4")
        assert KEY not in backend.output
    good.stop()


class Mattermost(BaseHTTPRequestHandler):
    """Refuses messages beyond the limit of the service, as the service does."""

    texts: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        text = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"]
        self.send_response(200 if len(text) <= MATTERMOSTS_LIMIT else 400)
        self.end_headers()
        self.texts.append(text)

    def log_message(self, *_: object) -> None:
        pass


def test_a_message_is_cut_to_the_limit_of_its_service() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Mattermost)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    channel = AppriseChannel(1, f"mmost://127.0.0.1:{server.server_address[1]}/{'k' * 24}")
    channel.publish(Push("99 hosts are lost", "x" * 5000), 30)
    (text,) = Mattermost.texts
    assert "99 hosts are lost" in text
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("urls", "number"),
    [
        ("json://host/the-secret-one,nosuch://the-secret", "2 of 2"),
        ("tgram://the-secret", "1 of 1"),
    ],
)
def test_a_bad_url_stops_the_start_with_its_number(
    refused_start: Callable[..., str], urls: str, number: str
) -> None:
    output = refused_start(HETZNER_TOKEN="t" * 64, REGISTERED_FQDNS=NAS, NOTIFY_URLS=urls)
    assert f"NOTIFY_URLS: apprise can't read URL {number}: " in output
    assert "the-secret" not in output
    assert len(output.strip().splitlines()) == 1


def test_a_test_message_reports_each_channel(
    tmp_path: Path, ntfy: FakeNtfy, mailbox: Mailbox, webhook: Webhook
) -> None:
    webhook.behaviour = "refuse"
    settings = variables(ntfy, mailbox.url, webhook.url)
    settings.update(HETZNER_TOKEN="t" * 64, REGISTERED_FQDNS=NAS)
    done = run([sys.executable, "-m", "backend", "notify", "test"], tmp_path, **settings)
    assert done.returncode == 1
    rows = [
        line.split(None, 2)[:2] for line in done.stdout.splitlines() if not line.startswith(" ")
    ]
    assert rows[2:] == [["ok", "channel"], ["fail", "channel"]]
    assert [mail["Subject"] for mail in mailbox.mails] == ["Test of hetzner-dyndns"]
    assert KEY not in done.stdout + done.stderr


def test_a_heartbeat_is_sent_while_all_is_well(hetzner: Hetzner, tmp_path: Path) -> None:
    beats: list[str] = []

    class Monitor(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            beats.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Monitor)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/{KEY}"
    with Backend(tmp_path, hetzner, HEARTBEAT_URL=url, DEBUG_LOGGING="1") as backend:
        until(lambda: beats, "a heartbeat", lambda: backend.output)
        assert KEY not in backend.output
    assert beats == [f"/{KEY}"]  # one a minute, of all workers
    server.shutdown()
    server.server_close()


def test_the_time_zone_is_that_of_the_log(hetzner: Hetzner, tmp_path: Path) -> None:
    with Backend(tmp_path, hetzner, TZ="Etc/GMT-9") as backend:
        assert all("+09:00 " in line for line in backend.output.splitlines()), backend.output


def test_an_unknown_time_zone_is_a_warning(hetzner: Hetzner, tmp_path: Path) -> None:
    with Backend(tmp_path, hetzner, TZ="Europe/Atlantis") as backend:
        assert backend.output.count("TZ: 'Europe/Atlantis' isn't a time zone of this system") == 1
