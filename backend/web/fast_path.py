"""Answers a repeated request from memory.

Nearly every request comes from a router that sends the same bytes every minute. Parsing them and
checking their login gives what it gave before. Whether the address is still up to date is read from
the store each time.
"""

from __future__ import annotations

import hashlib
import io
import logging
import re
import threading
from collections import OrderedDict
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Tuple

from flask import Flask, Response, request

from backend.auth.authorizer import Authorizer
from backend.auth.keys import AcceptedKeys
from backend.errors import KeysUnavailable
from backend.model import Update
from backend.web.request import MAX_BODY, UNCHANGED

logger = logging.getLogger(__name__)

Environ = Dict[str, Any]
Start = Callable[..., Any]
# Whether an update was answered from memory again, as `Updater.repeat` does.
Repeat = Callable[[Update], bool]
Application = Callable[[Environ, Start], Iterable[bytes]]

_QUESTION = "dyndns.question"  # in the environment: the digest of the request, and the keys
_MOST = 20_000  # answers, of about half a kilobyte
# The parts of a request that its answer depends on, besides the body.
_PARTS = (
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
    """The application with a memory for answers. Safe to share between threads.

    An answer is found by a digest of the request, which contains a login. Answers are valid as long
    as the same keys are accepted.
    """

    def __init__(self, app: Flask, authorizer: Authorizer, repeat: Repeat) -> None:
        self._application: Application = app.wsgi_app
        self._authorizer = authorizer
        self._repeat = repeat
        self._lock = threading.Lock()
        self._keys: Optional[AcceptedKeys] = None
        self._answers: OrderedDict[bytes, _Answer] = OrderedDict()
        app.after_request(self._learn)

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        """Answer a request."""
        path = environ.get("PATH_INFO", "")
        if "//" in path:  # Werkzeug would answer with a redirect
            environ["PATH_INFO"] = re.sub("//+", "/", path)
        question = _question(environ)
        if question is None:
            return self._application(environ, start)
        try:
            keys = self._authorizer.keys()
        except KeysUnavailable:
            return self._application(environ, start)
        with self._lock:
            if keys is not self._keys:
                self._keys = keys
                self._answers.clear()
            answer = self._answers.get(question)
        if answer is not None and self._repeat(answer.update):
            self._authorizer.authorized_again(answer.update)
            logger.debug("%s was sent again: %s", environ["PATH_INFO"], answer.status)
            start(answer.status, list(answer.headers))
            return [answer.body]
        environ[_QUESTION] = question, keys
        return self._application(environ, start)

    def _learn(self, response: Response) -> Response:
        """Keep the answer to the current request if it says that nothing had to be changed."""
        environ = request.environ
        if UNCHANGED in environ and _QUESTION in environ:
            question, keys = environ[_QUESTION]
            headers = response.get_wsgi_headers(environ).to_wsgi_list()
            answer = _Answer(environ[UNCHANGED], response.status, headers, response.get_data())
            with self._lock:
                if keys is self._keys:  # else the keys changed after the request came in
                    self._answers[question] = answer
                    if len(self._answers) > _MOST:
                        self._answers.popitem(last=False)
        return response


def _question(environ: Environ) -> Optional[bytes]:
    """Return a digest of an update's request; `None` for others, and for those of browsers."""
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
    parts = [environ.get(name, "").encode("utf-8", "surrogatepass") for name in _PARTS]
    lengths = ",".join(str(len(part)) for part in parts)
    return hashlib.sha256(b"".join([lengths.encode("ascii"), *parts, body])).digest()
