"""The flask application: routes, errors, static files, and the fast path for repeated requests."""

from __future__ import annotations

import hashlib
import io
import logging
import re
import threading
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, Dict, Iterable, Mapping, NamedTuple, Sequence, cast

from flask import Blueprint, Flask, Response, abort, request
from werkzeug.exceptions import HTTPException

from backend.auth.registry import Access
from backend.errors import DyndnsError, KeysUnavailable
from backend.model import Change, Network, Update
from backend.rate import LineLimit
from backend.web import dyndns2, json_api
from backend.web.caller import CallerCheck, client_address, strip_prefix
from backend.web.request import (
    APPLIED,
    MAX_BODY,
    SENT_BYTES,
    Apply,
    Authorize,
    BoundedRequest,
    SentBytes,
    read_body,
)
from backend.web.session import error_page

logger = logging.getLogger(__name__)

Environ = Dict[str, Any]
Start = Callable[..., Any]
# Returns whether an update is still cached, as `Updater.repeat` does.
Repeat = Callable[[Update], bool]

_STATIC = Path(__file__).with_name("static")
_OPENAPI = Path(__file__).with_name("openapi.json")
_TYPES = {".css": "text/css", ".js": "text/javascript"}
_YEAR = 365 * 24 * 3600
# In the environment of a WSGI request: its digest, and who had access then.
_DIGEST = "dyndns.digest"
_MAX_ANSWERS = 20_000  # in each of the two dictionaries; an answer has about half a kilobyte
_FOR_DEVICES = "Devices send their updates here. The page of a host shows what to enter in them."
# The parts of a request that determine its answer, besides the body.
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


def create_app(  # noqa: PLR0913, PLR0917
    access: Callable[[], Access],
    authorize: Authorize,
    apply: Apply,
    repeat: Repeat,
    problems: Callable[[], list[str]],
    proxies: Sequence[Network],
    dashboard: Blueprint | None = None,
    acme: Blueprint | None = None,
) -> Flask:
    """Return the application, without any side effect; `access` is `Registry.access`."""
    app = Flask(__name__, static_folder=None)
    app.request_class = BoundedRequest
    app.before_request(read_body)
    device_paths = ("/update", *dyndns2.PATHS)
    callers = CallerCheck(proxies, device_paths)
    protocols = [one.blueprint(authorize, apply, proxies) for one in (json_api, dyndns2)]
    if acme is not None:
        protocols.append(acme)
    for updates in protocols:
        updates.before_request(callers.refuse_other_sites)
        app.register_blueprint(updates)
    app.register_blueprint(_pages(problems, proxies))
    if dashboard is not None:
        app.register_blueprint(_assets())
        app.register_blueprint(dashboard)
    app.register_error_handler(DyndnsError, lambda error: _protocol().refusal(error))
    crashes = LineLimit()

    @app.errorhandler(HTTPException)
    def no_view(error: HTTPException) -> Response:
        """Answer a request that no view handles: with a page, or as the protocol does."""
        is_person = "text/html" in request.headers.get("Accept", "")
        if dashboard is None or not is_person or request.method != "GET":
            return cast("Response", _protocol().http_failure(error))
        is_ours = request.path in device_paths
        title = "This address is for devices" if is_ours else error.name
        text = _FOR_DEVICES if is_ours else error.description or ""
        page = error_page(error.code or 404, title, text)
        allowed = getattr(error, "valid_methods", None)  # of 405
        if allowed:
            page.headers["Allow"] = ", ".join(allowed)
        return page

    @app.errorhandler(Exception)
    def crash(error: Exception) -> Response:
        if crashes.take() is not None:
            logger.error("A request to %s failed", request.url_rule, exc_info=error)
        problem = DyndnsError("The service failed; its log has the details.")
        return cast("Response", _protocol().refusal(problem))

    fast_path = FastPath(app.wsgi_app, access, repeat, proxies)
    app.wsgi_app = fast_path  # type: ignore[method-assign, assignment]
    app.after_request(fast_path.learn)
    app.after_request(callers.log)
    return app


def _protocol() -> ModuleType:
    """Return the protocol of the current request by its path, even if the path has no view."""
    return dyndns2 if request.path.startswith(("/nic/", "/v3/")) else json_api


def _pages(problems: Callable[[], list[str]], proxies: Sequence[Network]) -> Blueprint:
    pages = Blueprint("pages", __name__)
    document = _OPENAPI.read_bytes()
    uncached = {"Cache-Control": "no-store"}

    @pages.get("/ip")
    def ip() -> Response:
        text = f"{client_address(request.environ, proxies)}\n"
        return Response(text, 200, uncached, mimetype="text/plain")

    @pages.get("/healthz")
    def healthz() -> Response:
        found = problems()
        text = f"{'; '.join(found) or 'ok'}\n"
        return Response(text, 503 if found else 200, uncached, mimetype="text/plain")

    @pages.get("/openapi.json")
    def describe() -> Response:
        return Response(document, 200, uncached, mimetype="application/json")

    return pages


def _assets() -> Blueprint:
    found: Mapping[str, bytes] = {
        path.name: path.read_bytes() for path in _STATIC.iterdir() if path.suffix in _TYPES
    }
    versions = {name: hashlib.sha256(text).hexdigest()[:16] for name, text in found.items()}
    assets = Blueprint("assets", __name__)

    @assets.get("/static/<version>/<name>")
    def asset(version: str, name: str) -> Response:
        if version != versions.get(name):
            abort(404)
        response = Response(found[name], mimetype=_TYPES[Path(name).suffix])
        response.headers["Cache-Control"] = f"public, max-age={_YEAR}, immutable"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    @assets.app_context_processor
    def known() -> dict[str, Any]:
        return {"assets": versions}

    return assets


class _Answer(NamedTuple):
    """An answer to a repeated request."""

    access: Access | None  # the hosts and keys for which the answer was given
    update: Update
    path: str
    status: str
    headers: list[tuple[str, str]]
    body: bytes
    # Only of an answer that is found by the bytes of its request:
    protocol: str = ""
    closes: bool = False

    def text(self, date: str, *, closes: bool) -> bytes:
        """Return the answer as gunicorn writes it."""
        lines = [f"{self.protocol} {self.status}", "Server: gunicorn", f"Date: {date}"]
        lines.append("Connection: close" if closes else "Connection: keep-alive")
        lines += [f"{name}: {value}" for name, value in self.headers]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


class FastPath:
    """Answers a repeated request from memory. Safe to share between threads.

    Most requests come from routers that send the same bytes every minute. Parsing such a request
    and checking its login has the same result each time, while hosts and keys stay the same. The
    store is read each time to see whether the address is still up to date.

    The key of an answer is a digest of the request, because a request contains a login: a digest
    of the parts that determine the answer, and that of all its bytes if the server knows them.
    """

    def __init__(
        self,
        application: Callable[[Environ, Start], Iterable[bytes]],
        access: Callable[[], Access],
        is_unchanged: Repeat,
        proxies: Sequence[Network],
    ) -> None:
        self._proxies = proxies
        self._application = application
        self._current_access = access
        self._is_unchanged = is_unchanged
        self._lock = threading.Lock()
        self._access: Access | None = None
        # A proxy may add a different header to each request. Then no bytes are repeated: answers by
        # bytes must not displace answers by parts.
        self._by_parts: dict[bytes, _Answer] = {}
        self._by_bytes: dict[bytes, _Answer] = {}

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        if "HTTP_X_FORWARDED_PREFIX" in environ:
            strip_prefix(environ, self._proxies)
        # Clients double slashes, and append one, or the path itself. Werkzeug would redirect.
        path = re.sub("//+", "/", environ.get("PATH_INFO", ""))
        if path.endswith("/update/"):
            path = path[:-1]
        environ["PATH_INFO"] = "/nic/update" if path == "/nic/update/nic/update" else path
        digest = _digest(environ)
        answer = None if digest is None else self._find(self._by_parts, digest)
        if digest is None or answer is None:
            environ[_DIGEST] = digest, self._access
            return self._application(environ, start)
        self._keep(environ, digest, answer)
        start(answer.status, list(answer.headers))
        return [answer.body]

    def repeat(self, key: bytes) -> _Answer | None:
        """Return the answer to known bytes of a request; `None` if it may have changed."""
        return self._find(self._by_bytes, key)

    def _find(self, answers: dict[bytes, _Answer], digest: bytes) -> _Answer | None:
        try:
            access = self._current_access()
        except KeysUnavailable:
            return None
        with self._lock:
            if access is not self._access:
                self._access = access
                self._by_parts.clear()
                self._by_bytes.clear()
            answer = answers.get(digest)
        if answer is None or not self._is_unchanged(answer.update):
            return None
        source = answer.update.requester.source
        logger.debug("%s %s again: %s", source, answer.path, answer.status)
        return answer

    def learn(self, response: Response) -> Response:
        """Keep the answer to the current request if its only update was answered from the cache.

        The same prefix may lead to another address the next time, so its answer isn't kept. Nor is
        one to the operator: it would answer the right one of many guessed passwords without delay.
        """
        environ = request.environ
        digest, access = environ[_DIGEST]
        if digest is None or APPLIED not in environ:
            return response
        update, outcome = environ[APPLIED]
        is_repeatable = update.prefix is None and not update.by_operator
        if is_repeatable and all(one.change is Change.CACHED for one in outcome.records):
            headers = response.get_wsgi_headers(environ).to_wsgi_list()
            body = response.get_data()
            answer = _Answer(access, update, request.path, response.status, headers, body)
            self._keep(environ, digest, answer)
        return response

    def _keep(self, environ: Environ, digest: bytes, answer: _Answer) -> None:
        """Keep an answer for the parts of its request, and for its bytes if they are known."""
        places = [(self._by_parts, digest, answer)]
        sent: SentBytes | None = environ.get(SENT_BYTES)
        if sent is not None:
            exact = answer._replace(protocol=environ["SERVER_PROTOCOL"], closes=sent.closes)
            places.append((self._by_bytes, sent.key, exact))
        with self._lock:
            if answer.access is not self._access:  # it has changed since the request
                return
            for answers, key, one in places:
                answers[key] = one
                if len(answers) > _MAX_ANSWERS:
                    del answers[next(iter(answers))]


def _digest(environ: Environ) -> bytes | None:
    """Return a digest of an update request; `None` for other requests, and for browsers."""
    if not environ.get("PATH_INFO", "").endswith("/update"):
        return None
    if "HTTP_SEC_FETCH_SITE" in environ or "HTTP_ORIGIN" in environ:  # from a browser
        return None
    body = b""
    length = environ.get("CONTENT_LENGTH") or "0"
    if length != "0":
        if not length.isdigit() or int(length) > MAX_BODY:
            return None
        body = environ["wsgi.input"].read(int(length))
        environ["wsgi.input"] = io.BytesIO(body)
        if len(body) != int(length):
            return None
    elif "HTTP_TRANSFER_ENCODING" in environ:
        return None
    parts = [environ.get(name, "").encode("utf-8", "surrogatepass") for name in _PARTS]
    lengths = ",".join(str(len(part)) for part in parts)
    return hashlib.sha256(b"".join([lengths.encode("ascii"), *parts, body])).digest()
