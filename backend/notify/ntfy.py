"""Sends one push to an ntfy server, or raises an error about the server or its settings.

Publishing as JSON: https://docs.ntfy.sh/publish/#publish-as-json
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping
from urllib.parse import urlsplit

from requests.auth import AuthBase, HTTPBasicAuth

from backend.outgoing import Bearer, NoAnswer, Session, ask, retry_after

_SECONDS = 10.0  # for one try
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


@dataclass(frozen=True)
class Push:
    """One notification. Priorities: 1 (least) to 5, 3 is ntfy's default."""

    title: str
    message: str
    priority: int = 3
    tags: tuple[str, ...] = ()

    def content(self) -> str:
        """Return the push as JSON, for the store."""
        return json.dumps(vars(self))


class PushRefused(Exception):
    """Pushes are refused permanently, because of a wrong setting. The text names the correction."""


class PushFailed(Exception):
    """The server doesn't accept the push now, but may later. The text says why.

    `retry_after` is the pause in seconds that the server asks for. `believed_after` is the number
    of failures in a row that may be a mistake of the server. If the failure `is_doubtful`, the
    server may have delivered the push.
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


class Ntfy:
    """A topic on an ntfy server. Not safe to share between threads."""

    name = "ntfy"

    def __init__(  # noqa: PLR0913
        self,
        url: str,
        topic: str,
        *,
        username: str = "",
        password: str = "",
        token: str = "",
        ca_bundle: Path | None = None,
    ) -> None:
        self._url = url
        self._host = urlsplit(url).hostname
        self._topic = topic
        self._auth: AuthBase | None = Bearer(token) if token else None
        if username and not token:
            # Encoded here, because requests encodes text as latin-1.
            self._auth = HTTPBasicAuth(username.encode("utf-8"), password.encode("utf-8"))
        self._has_login = self._auth is not None or "@" in url
        self._session = Session()
        # Passed to each request: REQUESTS_CA_BUNDLE would replace that of the session.
        self._verify = {} if ca_bundle is None else {"verify": str(ca_bundle)}

    def publish(self, push: Push, seconds: float = _SECONDS) -> None:
        """Send one push, within a few seconds.

        Raises:
            PushRefused: the topic or the URL is wrong.
            PushFailed: the server doesn't answer, can't accept the push now, or refuses the login.

        """
        body = {"topic": self._topic, **vars(push), "message": _shortened(push.message)}
        options: dict[str, Any] = {"json": body, "auth": self._auth, **self._verify}
        options["timeout"] = min(seconds, _SECONDS)
        try:
            status, headers, text = ask(self._session, "POST", self._url, _MAX_ANSWER, **options)
        except NoAnswer as error:
            cause = f"{self._host} can't be reached: {error}"
            if "CA certificates" in cause:
                cause = f"{cause} (NTFY_CA_BUNDLE)"
            raise PushFailed(cause, is_doubtful=error.was_sent) from None
        if status == 429 or status >= 500:  # noqa: PLR2004
            pause = retry_after(headers, 0.0, _MAX_PAUSE) or 0.0
            raise PushFailed(f"{self._host} answers {status}", pause)
        if status in _LOGIN_REFUSALS:
            refusal = _LOGIN_REFUSALS[status] if self._has_login else _NO_LOGIN
            raise PushFailed(refusal, believed_after=_REFUSALS_IGNORED)
        if status != 200:  # noqa: PLR2004
            hint = _CHECK_URL if status in (404, 405) else "check NTFY_URL and NTFY_TOPIC"
            raise PushRefused(f"{self._host} answers {status}: {hint}")
        if not _is_receipt(text, body):
            raise PushRefused(f"{self._host} isn't an ntfy server: {_CHECK_URL}")


def _shortened(message: str) -> str:
    encoded = message.encode("utf-8", "replace")
    if len(encoded) <= _MAX_MESSAGE:
        return encoded.decode("utf-8")
    return encoded[:_MAX_MESSAGE].decode("utf-8", "ignore") + " …"


def _is_receipt(answer: bytes, body: Mapping[str, Any]) -> bool:
    """Return whether this is ntfy's answer to this push.

    At the URL of a topic, ntfy accepts any text, and the JSON itself becomes the message.
    """
    try:
        receipt: dict[str, Any] = json.loads(answer.decode("utf-8"))
        return bool(receipt["topic"] == body["topic"] and receipt.get("title") == body["title"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False
