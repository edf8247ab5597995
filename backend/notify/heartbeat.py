"""Calls a URL while all is well, so that a monitor notices the silence of the service itself."""

from __future__ import annotations

import logging
from typing import Callable, Sequence
from urllib.parse import urlsplit

from backend.outgoing import NoAnswer, Session, ask

logger = logging.getLogger(__name__)

_SECONDS = 10.0
_MAX_ANSWER = 64 * 1024


class Heartbeat:
    """Calls the URL once a minute, in one of all processes. The URL is a secret."""

    def __init__(
        self, url: str, is_due: Callable[[str], bool], problems: Callable[[], Sequence[str]]
    ) -> None:
        """`is_due` is true for the first process that asks within a minute."""
        self._url = url
        self._host = urlsplit(url).hostname
        self._is_due = is_due
        self._problems = problems
        self._session = Session()
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
