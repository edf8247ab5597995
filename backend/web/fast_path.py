"""Answers what was asked before in the very same words, without taking it apart again.

Nearly every request is a router that asks every minute what it asked the minute before. Reading its
words and trying its login give what they gave then; whether the address is still published is asked
of the store each time.
"""

from __future__ import annotations

import hashlib
import io
import logging
import threading
from collections import OrderedDict
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Tuple

from backend.auth.authorizer import Authorizer
from backend.auth.keys import AcceptedKeys
from backend.errors import KeysUnavailable
from backend.model import Update
from backend.web.request import MAX_BODY, UNCHANGED

logger = logging.getLogger(__name__)

Environ = Dict[str, Any]
Start = Callable[..., Any]
# Whether an update has been done once more, from memory, as `Updater.repeat` does.
Repeat = Callable[[Update], bool]
Application = Callable[[Environ, Start], Iterable[bytes]]

_MOST = 20_000  # answers, of half a kilobyte or so
# Everything of a request that its answer depends on, besides the body.
_WORDS = (
    "REQUEST_METHOD",
    "PATH_INFO",
    "QUERY_STRING",
    "REMOTE_ADDR",
    "CONTENT_TYPE",
    "HTTP_AUTHORIZATION",
    "HTTP_X_PRE_SHARED_KEY",
    "HTTP_X_REAL_IP",
    "HTTP_X_FORWARDED_FOR",
)


class _Answer(NamedTuple):
    update: Update
    status: str
    headers: List[Tuple[str, str]]
    body: bytes


class FastPath:
    """The application, with a memory for answers. Safe to share between threads.

    The key of an answer is a digest of the request, since that contains a login. The answers are
    valid as long as the same keys are accepted.
    """

    def __init__(self, application: Application, authorizer: Authorizer, repeat: Repeat) -> None:
        self._application = application
        self._authorizer = authorizer
        self._repeat = repeat
        self._lock = threading.Lock()
        self._keys: Optional[AcceptedKeys] = None
        self._answers: OrderedDict[bytes, _Answer] = OrderedDict()

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        """Answer a request."""
        question = _question(environ)
        if question is None:
            return self._application(environ, start)
        try:
            keys = self._authorizer.keys()
        except KeysUnavailable:
            return self._application(environ, start)
        answer = self._find(question, keys)
        if answer is not None and self._repeat(answer.update):
            self._authorizer.authorized_again(answer.update)
            logger.debug("%s is asked again: %s", environ["PATH_INFO"], answer.status)
            start(answer.status, list(answer.headers))
            return [answer.body]
        return self._ask(environ, start, question, keys)

    def _find(self, question: bytes, keys: AcceptedKeys) -> Optional[_Answer]:
        with self._lock:
            if keys is not self._keys:
                self._keys = keys
                self._answers.clear()
            return self._answers.get(question)

    def _ask(
        self, environ: Environ, start: Start, question: bytes, keys: AcceptedKeys
    ) -> Iterable[bytes]:
        told: List[Any] = []

        def tell(*words: Any) -> Any:  # noqa: ANN401
            told[:] = words
            return start(*words)

        answer = self._application(environ, tell)
        update = environ.get(UNCHANGED)
        if update is None:
            return answer
        body = b"".join(answer)
        status, headers, *_ = told
        self._learn(question, keys, _Answer(update, status, list(headers), body))
        close = getattr(answer, "close", None)
        if close is not None:
            close()
        return [body]

    def _learn(self, question: bytes, keys: AcceptedKeys, answer: _Answer) -> None:
        with self._lock:
            if keys is not self._keys:  # the keys changed after the request came in
                return
            self._answers[question] = answer
            if len(self._answers) > _MOST:
                self._answers.popitem(last=False)


def _question(environ: Environ) -> Optional[bytes]:
    """Return what stands for a request; `None` for one that isn't an update, or an odd one."""
    if not environ.get("PATH_INFO", "").endswith("/update"):
        return None
    if "HTTP_SEC_FETCH_SITE" in environ or "HTTP_ORIGIN" in environ:  # of a browser
        return None
    body = b""
    length = environ.get("CONTENT_LENGTH") or "0"
    if length != "0":
        if not length.isdigit() or int(length) > MAX_BODY:
            return None
        body = environ["wsgi.input"].read(int(length))
        environ["wsgi.input"] = io.BytesIO(body)
    elif "HTTP_TRANSFER_ENCODING" in environ:
        return None
    words = [environ.get(name, "").encode("utf-8", "surrogatepass") for name in _WORDS]
    lengths = ",".join(str(len(word)) for word in words)
    return hashlib.sha256(b"".join([lengths.encode("ascii"), *words, body])).digest()
