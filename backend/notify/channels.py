"""The channels to the operator: ntfy, those of the apprise library, and the heartbeat.

Publishing to ntfy as JSON: https://docs.ntfy.sh/publish/#publish-as-json
"""

from __future__ import annotations

import importlib.util
import json
import logging
import threading
import time
from typing import Any, Callable, Mapping, Protocol, Sequence
from urllib.parse import urlsplit

from requests.auth import AuthBase, HTTPBasicAuth

from backend.errors import FAIL, OK, Line, SettingUnusable
from backend.notify import apprise
from backend.notify.reporter import Push
from backend.outgoing import Bearer, NoAnswer, Session, ask, retry_after
from backend.settings import NtfySettings

logger = logging.getLogger(__name__)

_SECONDS = 10.0  # for one call of ntfy or of the monitor
_CHECK_SECONDS = 60.0  # for apprise to read all URLs
_TEST_SECONDS = 30.0
_MAX_ANSWER = 64 * 1024
# A longer message would arrive as an attachment: https://docs.ntfy.sh/config/#message-limits
_MAX_MESSAGE = 4000  # bytes of UTF-8
_MAX_PAUSE = 300.0

_CHECK_URL = "check that NTFY_URL is its base URL, without the topic"
_NO_LOGIN = (
    "not allowed, and no login is set: set NTFY_TOKEN, or NTFY_USERNAME and NTFY_PASSWORD, of a "
    "user who may write to the topic NTFY_TOPIC"
)
_LOGIN_REFUSALS: Mapping[int, str] = {
    401: "wrong login (401): check NTFY_USERNAME and NTFY_PASSWORD, or NTFY_TOKEN",
    403: "not allowed (403): give the login in NTFY_USERNAME or NTFY_TOKEN write access to the "
    "topic NTFY_TOPIC, with `ntfy access USER TOPIC write-only` on the server",
}
# ntfy 2.11 sometimes answers 403, and accepts the same push a moment later.
_REFUSALS_IGNORED = 4


class PushRefused(Exception):
    """Pushes are refused permanently: a setting is wrong. The text says how to correct it."""


class PushFailed(Exception):
    """The server doesn't accept the push now, but may later. The text says why.

    `retry_after` is the pause in seconds that the server asks for. The first `believed_after`
    failures in a row may be mistakes of the server. If the failure `is_doubtful`, the server may
    have delivered the push.
    """

    def __init__(
        self,
        cause: str,
        retry_after: float = 0.0,
        believed_after: int = 0,
        *,
        is_doubtful: bool = False,
    ) -> None:
        super().__init__(cause)
        self.retry_after = retry_after
        self.believed_after = believed_after
        self.is_doubtful = is_doubtful


class Channel(Protocol):
    """Sends pushes to one place. Not safe to share between threads."""

    name: str  # for the log; contains no secret

    def publish(self, push: Push, seconds: float) -> None:
        """Send one push; raise `PushRefused` or `PushFailed`."""


class Ntfy:
    """A topic on an ntfy server. Not safe to share between threads."""

    name = "ntfy"

    def __init__(self, settings: NtfySettings) -> None:
        self._settings = settings
        self._host = urlsplit(settings.url).hostname
        self._auth: AuthBase | None = None
        if settings.token:
            self._auth = Bearer(settings.token)
        elif settings.username:
            # Encoded here, because requests encodes text as latin-1.
            login = settings.username.encode("utf-8"), settings.password.encode("utf-8")
            self._auth = HTTPBasicAuth(*login)
        self._session = Session(settings.url)
        if settings.ca_bundle is not None:
            self._session.verify = str(settings.ca_bundle)

    def publish(self, push: Push, seconds: float = _SECONDS) -> None:
        """Send one push, within a few seconds.

        Raises:
            PushRefused: the topic or the URL is wrong.
            PushFailed: the server doesn't answer, can't accept the push now, or refuses the login.

        """
        message = push.message.encode("utf-8", "replace")
        text = message[:_MAX_MESSAGE].decode("utf-8", "ignore")
        text += " …" if len(message) > _MAX_MESSAGE else ""
        url, timeout = self._settings.url, min(seconds, _SECONDS)
        body = {"topic": self._settings.topic, **vars(push), "message": text}
        options: dict[str, Any] = {"timeout": timeout, "json": body, "auth": self._auth}
        try:
            status, headers, answer = ask(self._session, "POST", url, _MAX_ANSWER, **options)
        except NoAnswer as error:
            cause = f"{self._host} can't be reached: {error}"
            if "CA certificates" in cause:
                cause = f"{cause} (NTFY_CA_BUNDLE)"
            raise PushFailed(cause, is_doubtful=error.was_sent) from None
        if status == 429 or status >= 500:  # noqa: PLR2004
            pause = retry_after(headers, 0.0, _MAX_PAUSE) or 0.0
            raise PushFailed(f"{self._host} answers {status}", pause)
        if status in _LOGIN_REFUSALS:
            has_login = self._auth is not None or "@" in url
            refusal = _LOGIN_REFUSALS[status] if has_login else _NO_LOGIN
            raise PushFailed(refusal, believed_after=_REFUSALS_IGNORED)
        if status != 200:  # noqa: PLR2004
            hint = _CHECK_URL if status in (404, 405) else "check NTFY_URL and NTFY_TOPIC"
            raise PushRefused(f"{self._host} answers {status}: {hint}")
        if not _is_receipt(answer, body):
            raise PushRefused(f"{self._host} isn't an ntfy server: {_CHECK_URL}")


def _is_receipt(answer: bytes, body: Mapping[str, Any]) -> bool:
    """Return whether this is ntfy's answer to this push.

    At the URL of a topic, ntfy accepts any text, and the JSON itself becomes the message.
    """
    try:
        receipt: dict[str, Any] = json.loads(answer.decode("utf-8"))
        return bool(receipt["topic"] == body["topic"] and receipt.get("title") == body["title"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


class AppriseChannel:
    """The service at one URL, which is a secret. Each push starts a process."""

    def __init__(self, number: int, url: str) -> None:
        self.name = f"channel {number}"
        self._url = url

    def publish(self, push: Push, seconds: float) -> None:
        """Send one push.

        Raises:
            PushFailed: apprise couldn't send it in time.

        """
        answer = apprise.run({"urls": [self._url], "push": vars(push)}, seconds)
        if answer == [False]:
            raise PushFailed(
                "apprise can't send the push; check the channel's URL in NOTIFY_URLS and its server"
            )
        if answer != [True]:
            raise PushFailed("no answer in time", is_doubtful=True)


def open_channels(settings: NtfySettings) -> list[Channel]:
    """Return all channels of the settings."""
    channels: list[Channel] = [Ntfy(settings)] if settings.url else []
    return channels + [AppriseChannel(number, url) for number, url in enumerate(settings.urls, 1)]


def check_urls(urls: Sequence[str]) -> None:
    """Make sure that the library can read all URLs.

    Raises:
        SettingUnusable: it can't, or the library is missing. The text contains no URL.

    """
    if not urls:
        return
    if importlib.util.find_spec("apprise") is None:
        hint = (
            "run `pipx inject hetzner-dyndns apprise`, or in a clone install "
            "backend/requirements-apprise.txt; or leave NOTIFY_URLS empty."
        )
        raise SettingUnusable("NOTIFY_URLS needs the apprise library", hint=hint)
    answer = apprise.run({"urls": list(urls)}, _CHECK_SECONDS)
    if not answer:
        hint = "check that this machine has 128 MB of free memory, and try again."
        raise SettingUnusable("NOTIFY_URLS: apprise doesn't answer", hint=hint)
    if False in answer:
        number = answer.index(False) + 1
        problem = f"NOTIFY_URLS: apprise can't read URL {number} of {len(urls)}"
        hint = "write it as in https://appriseit.com/services/, and escape special characters."
        raise SettingUnusable(problem, hint=hint)


def send_test(settings: NtfySettings, sender: str) -> list[Line]:
    """Send a test message to all channels at the same time; return a result for each of them.

    Raises:
        SettingUnusable: as `check_urls` does.

    """
    check_urls(settings.urls)
    push = Push("Test of hetzner-dyndns", f"Notifications work: {sender} sent this.")
    channels = open_channels(settings)
    late = f"There was no answer within {_TEST_SECONDS:g} s."
    found = [Line(FAIL, channel.name, late, "Check the server.") for channel in channels]

    def send(number: int) -> None:
        found[number] = _try(channels[number], push, settings)

    # Daemons, because a channel that hangs must not keep a command from its end.
    threads = [
        threading.Thread(target=send, args=(number,), daemon=True)
        for number in range(len(channels))
    ]
    for thread in threads:
        thread.start()
    end = time.monotonic() + _TEST_SECONDS
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return list(found)


def _try(channel: Channel, push: Push, settings: NtfySettings) -> Line:
    is_ntfy, name = isinstance(channel, Ntfy), channel.name
    try:
        channel.publish(push, _TEST_SECONDS)
    except PushRefused as error:
        hint = "Check NTFY_URL, NTFY_TOPIC and the login."
        return Line(FAIL, name, f"The test message was refused: {error}.", hint)
    except PushFailed as error:
        hint = "Check NTFY_URL and the ntfy server."
        if not is_ntfy:
            hint = "With its URL in a file, `apprise -vv -b test -c FILE` says why, with secrets."
        return Line(FAIL, name, f"The test message wasn't delivered: {error}.", hint)
    place = f" to topic {settings.topic} at {urlsplit(settings.url).hostname}" if is_ntfy else ""
    return Line(OK, name, f"Sent a test message{place}.")


def send_test_or_fail(settings: NtfySettings, sender: str) -> bool:
    """Send a test message to all channels; return whether there are any.

    Raises:
        SettingUnusable: a channel doesn't accept it.

    """
    lines = send_test(settings, sender)
    for line in lines:
        if line.state == FAIL:
            raise SettingUnusable(f"{line.what}: {line.found} {line.hint}")
    return bool(lines)


class Heartbeat:
    """Calls the URL once a minute, from only one process. The URL is a secret."""

    def __init__(
        self, url: str, is_due: Callable[[str], bool], problems: Callable[[], Sequence[str]]
    ) -> None:
        """`is_due` is true for the first process that asks within a minute."""
        self._url = url
        self._host = urlsplit(url).hostname
        self._is_due = is_due
        self._problems = problems
        self._session = Session(url)
        self._has_failed = False

    def tick(self) -> None:
        """Call the URL if all is well and the last call was a minute ago."""
        if self._problems() or not self._is_due("call"):
            return
        try:
            status, *_ = ask(self._session, "GET", self._url, _MAX_ANSWER, timeout=_SECONDS)
            problem = "" if 200 <= status < 300 else f"it answers {status}"  # noqa: PLR2004
        except NoAnswer as error:
            problem = str(error)
        if problem and not self._has_failed:
            logger.warning(
                "The heartbeat to %s fails: %s. It is repeated every minute. Check HEARTBEAT_URL.",
                self._host,
                problem,
            )
        elif self._has_failed and not problem:
            logger.info("The heartbeat to %s works again.", self._host)
        self._has_failed = bool(problem)
