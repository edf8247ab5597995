"""One push to an ntfy server, or what is wrong with the server or its settings.

Publishing as JSON: https://docs.ntfy.sh/publish/#publish-as-json
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Dict, Mapping, Optional, Tuple

import requests
import urllib3
from requests.auth import AuthBase, HTTPBasicAuth

from backend.bearer import Bearer
from backend.outgoing import Session, read_body

_SECONDS = 10.0  # for one try
_MAX_ANSWER = 64 * 1024
# A longer message would arrive as an attachment: https://docs.ntfy.sh/config/#message-limits
_MAX_MESSAGE = 4000  # bytes of UTF-8
_MAX_PAUSE = 300.0


@dataclass(frozen=True)
class Push:
    """One notification. Priorities: 1 (least) to 5, 3 is ntfy's default."""

    title: str
    message: str
    priority: int = 3
    tags: Tuple[str, ...] = ()


class PushRefused(Exception):
    """Pushes are refused for good: a setting is wrong. The text says which one, and the mend."""


class LoginRefused(PushRefused):
    """The login may not push. That may be mended on the server, and it may be a whim of ntfy."""


class PushFailed(Exception):
    """The push can't be taken now. The text says why."""

    def __init__(self, cause: str, retry_after: float = 0.0) -> None:
        """Keep the pause the server asks for, in seconds."""
        super().__init__(cause)
        self.retry_after = retry_after


class Ntfy:
    """A topic on an ntfy server. Not to be shared between threads."""

    def __init__(
        self, url: str, topic: str, *, username: str = "", password: str = "", token: str = ""
    ) -> None:
        self._url = url
        self._topic = topic
        self._auth: Optional[AuthBase] = Bearer(token) if token else None
        if username and not token:
            # Encoded here: requests would take text for latin-1.
            self._auth = HTTPBasicAuth(username.encode("utf-8"), password.encode("utf-8"))
        self._has_login = self._auth is not None or "@" in url
        self._session = Session()

    def publish(self, push: Push, seconds: float = _SECONDS) -> None:
        """Send one push, and take so many seconds at most.

        Raises:
            LoginRefused: the login is wrong, or may not write to the topic.
            PushRefused: the server refuses it for good: the topic or the URL is wrong.
            PushFailed: no answer, or the server can't do it now.

        """
        body = {
            "topic": self._topic,
            "title": push.title,
            "message": _shortened(push.message),
            "priority": push.priority,
            "tags": list(push.tags),
        }
        try:
            status, headers, answer = self._post(body, min(seconds, _SECONDS))
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise PushFailed(f"it can't be reached, {_reason(error)}") from None
        if status == 429 or status >= 500:  # noqa: PLR2004
            raise PushFailed(f"it answers {status}", _retry_after(headers))
        if status in _LOGIN_REFUSALS:
            raise LoginRefused(_LOGIN_REFUSALS[status] if self._has_login else _NO_LOGIN)
        if status in _REFUSALS:
            raise PushRefused(_REFUSALS[status])
        if status != 200:  # noqa: PLR2004
            raise PushRefused(f"it answers {status}: check NTFY_URL and NTFY_TOPIC")
        if not _is_receipt(answer, body):
            raise PushRefused(_WRONG_URL)

    def _post(
        self, body: Mapping[str, Any], seconds: float
    ) -> Tuple[int, Mapping[str, str], bytes]:
        with self._session.post(
            self._url, json=body, auth=self._auth, timeout=seconds, stream=True
        ) as answer:
            return answer.status_code, answer.headers, read_body(answer, _MAX_ANSWER)


_WRONG_URL = (
    "what answers isn't an ntfy server: check that NTFY_URL is its base URL, without the topic"
)
_NO_LOGIN = (
    "not allowed, and no login is set: set NTFY_TOKEN, or NTFY_USERNAME and NTFY_PASSWORD, of a "
    "user who may write to the topic NTFY_TOPIC"
)
_LOGIN_REFUSALS: Mapping[int, str] = {
    401: "wrong login (401): check NTFY_USERNAME and NTFY_PASSWORD, or NTFY_TOKEN",
    403: "not allowed (403): give the login in NTFY_USERNAME or NTFY_TOKEN write access to the "
    "topic NTFY_TOPIC, with `ntfy access USER TOPIC write-only` on the server",
}
_REFUSALS: Mapping[int, str] = {
    404: f"not found (404), so {_WRONG_URL}",
    405: f"not allowed there (405), so {_WRONG_URL}",
}


def _shortened(message: str) -> str:
    encoded = message.encode("utf-8", "replace")
    if len(encoded) <= _MAX_MESSAGE:
        return encoded.decode("utf-8")
    return encoded[:_MAX_MESSAGE].decode("utf-8", "ignore") + " …"


def _is_receipt(answer: bytes, body: Mapping[str, Any]) -> bool:
    """Whether this is ntfy's answer to this push.

    Sent to the URL of a topic, the JSON itself would have become the message.
    """
    try:
        receipt: Dict[str, Any] = json.loads(answer.decode("utf-8"))
        return bool(receipt["topic"] == body["topic"] and receipt.get("title") == body["title"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def _retry_after(headers: Mapping[str, str]) -> float:
    try:
        return min(_MAX_PAUSE, max(0.0, float(headers["retry-after"])))
    except (KeyError, ValueError):
        return 0.0


def _reason(error: Exception) -> str:
    """Name the failure in a few words; the full text may hold a URL with a login."""
    for family, words in (
        (requests.exceptions.SSLError, "TLS failed: check its certificate"),
        (requests.exceptions.ProxyError, "the proxy doesn't answer"),
        (requests.exceptions.Timeout, "no answer in time"),
        (urllib3.exceptions.TimeoutError, "no answer in time"),
        (requests.exceptions.ConnectionError, "no connection"),
    ):
        if isinstance(error, family):
            return words
    return "the answer broke off"
