"""One push to an ntfy server, and the outbox that no request ever waits for.

Publishing as JSON: https://docs.ntfy.sh/publish/#publish-as-json
"""

from __future__ import annotations

import logging
import queue
import threading
from dataclasses import dataclass
from typing import Callable, Optional, Tuple

import requests
from requests.auth import AuthBase, HTTPBasicAuth

from backend.bearer import Bearer

_SECONDS = 10.0  # for one try
_PAUSES = (2.0, 10.0, 30.0, 60.0, 120.0, 300.0)  # between tries; then the push is given up
_MOST_WAITING = 100

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Push:
    """One notification. Priorities: 1 (least) to 5, 3 is ntfy's default."""

    title: str
    message: str
    priority: int = 3
    tags: Tuple[str, ...] = ()


class PushRefused(Exception):
    """The server refuses this push for good."""


class PushFailed(Exception):
    """The server can't take the push now."""


class Ntfy:
    """A topic on an ntfy server."""

    def __init__(
        self, url: str, topic: str, *, username: str = "", password: str = "", token: str = ""
    ) -> None:
        self._url = url
        self._topic = topic
        self._auth: Optional[AuthBase] = Bearer(token) if token else None
        if username and not token:
            # Encoded here: requests would take text for latin-1.
            self._auth = HTTPBasicAuth(username.encode("utf-8"), password.encode("utf-8"))
        self._session = requests.Session()

    def publish(self, push: Push) -> None:
        """Send one push.

        Raises:
            PushRefused: the server refuses it for good: the login, the topic or the URL is wrong.
            PushFailed: no answer, or the server can't do it now.

        """
        body = {
            "topic": self._topic,
            "title": push.title,
            "message": push.message,
            "priority": push.priority,
            "tags": list(push.tags),
        }
        try:
            answer = self._session.post(
                self._url, json=body, auth=self._auth, timeout=_SECONDS, allow_redirects=False
            )
        except requests.RequestException as error:
            raise PushFailed(type(error).__name__) from None
        if answer.status_code == 429 or answer.status_code >= 500:  # noqa: PLR2004
            raise PushFailed(f"status {answer.status_code}")
        if not answer.ok or answer.is_redirect:
            raise PushRefused(f"status {answer.status_code}")


class Outbox:
    """Sends pushes on a thread of its own, in order. Safe to share between threads."""

    def __init__(
        self,
        ntfy: Ntfy,
        pauses: Tuple[float, ...] = _PAUSES,
        count: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._ntfy = ntfy
        self._count = count  # ``sent`` or ``dropped``
        self._pauses = pauses
        self._waiting: queue.Queue[Optional[Push]] = queue.Queue(_MOST_WAITING)
        self._stopping = threading.Event()
        self._dropped = 0
        self._is_refused = False
        self._thread = threading.Thread(target=self._run, name="ntfy", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def flaw(self) -> str:
        """Return what is wrong with the thread; a server that is away is nothing wrong."""
        has_died = self._thread.ident is not None and not self._thread.is_alive()
        return "ntfy has died" if has_died and not self._stopping.is_set() else ""

    def put(self, push: Push) -> None:
        """Leave a push to be sent; it is dropped, and counted, when too many wait already."""
        try:
            self._waiting.put_nowait(push)
        except queue.Full:
            self._dropped += 1
            self._count("dropped")
            logger.warning("ntfy doesn't keep up: dropped the push %r.", push.title)

    def stop(self, seconds: float) -> None:
        """Send what waits, as far as that can be done within some seconds."""
        self._stopping.set()
        try:
            self._waiting.put_nowait(None)
        except queue.Full:
            return
        if self._thread.is_alive():
            self._thread.join(seconds)

    def _run(self) -> None:
        while True:
            push = self._waiting.get()
            if push is None:
                return
            self._send(push)
            self._tell_of_dropped()

    def _send(self, push: Push) -> None:
        """Try until the push is through, refused, or older than it is of use."""
        for pause in (*self._pauses, None):
            try:
                self._ntfy.publish(push)
            except PushRefused as error:
                self._complain(push, error)
                self._count("dropped")
                return
            except PushFailed as error:
                if pause is None or self._stopping.wait(pause):
                    logger.warning("ntfy can't be reached (%s): gave up %r.", error, push.title)
                    self._count("dropped")
                    return
            else:
                self._is_refused = False
                self._count("sent")
                return

    def _complain(self, push: Push, error: PushRefused) -> None:
        """Say what is wrong with the setting once, not at every push."""
        if not self._is_refused:
            logger.error(
                "ntfy refuses pushes (%s): check NTFY_URL, NTFY_TOPIC and the login. "
                "Nothing else is affected.",
                error,
            )
        self._is_refused = True
        logger.warning("Not pushed: %s", push.title)

    def _tell_of_dropped(self) -> None:
        dropped, self._dropped = self._dropped, 0
        if dropped:
            self._send(Push("Pushes were dropped", f"{dropped} more events: see the log."))
