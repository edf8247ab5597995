"""The flask application, with the small pages and the static files."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from flask import Blueprint, Flask, Response, abort, request
from werkzeug.exceptions import HTTPException

from backend.auth.authorizer import Authorizer
from backend.errors import DyndnsError
from backend.web import dyndns2, json_api
from backend.web.fast_path import FastPath, Repeat
from backend.web.request import (
    MAX_BODY,
    Apply,
    BoundedRequest,
    Network,
    SiteCheck,
    client_address,
    log_request,
    read_body,
)

logger = logging.getLogger(__name__)

_FOLDER = Path(__file__).parent / "static"
_TYPES = {".css": "text/css", ".js": "text/javascript"}
_YEAR = 365 * 24 * 3600


def _assets() -> Blueprint:
    """Return them, ready to be registered."""
    found: Mapping[str, bytes] = {
        path.name: path.read_bytes() for path in _FOLDER.iterdir() if path.suffix in _TYPES
    }
    versions = {name: _version(content) for name, content in found.items()}
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
    def known() -> Dict[str, Any]:
        return {"assets": versions}

    return assets


def _version(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


_DOCUMENT = Path(__file__).with_name("openapi.json")


def _pages(problems: Callable[[], List[str]], proxies: Sequence[Network]) -> Blueprint:
    """Return the pages, ready to be registered."""
    pages = Blueprint("pages", __name__)
    document = _DOCUMENT.read_bytes()

    @pages.get("/ip")
    def ip() -> Response:
        return _plain(200, client_address(request, proxies))

    @pages.get("/healthz")
    def healthz() -> Response:
        found = problems()
        return _plain(503 if found else 200, "; ".join(found) or "ok")

    @pages.get("/openapi.json")
    def describe() -> Response:
        headers = {"Cache-Control": "no-store"}
        return Response(document, 200, headers, mimetype="application/json")

    return pages


def _plain(status: int, text: str) -> Response:
    return Response(f"{text}\n", status, {"Cache-Control": "no-store"}, mimetype="text/plain")


def create_app(  # noqa: PLR0913, PLR0917
    authorizer: Authorizer,
    apply: Apply,
    repeat: Repeat,
    problems: Callable[[], List[str]],
    proxies: Sequence[Network],
    dashboard: Optional[Blueprint] = None,
) -> Flask:
    """Return the application. It starts nothing and opens nothing."""
    app = Flask(__name__, static_folder=None)
    app.request_class = BoundedRequest
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.before_request(read_body)
    sites = SiteCheck(proxies)
    app.register_blueprint(json_api.blueprint(authorizer, apply, proxies, sites))
    app.register_blueprint(dyndns2.blueprint(authorizer, apply, proxies, sites))
    app.register_blueprint(_pages(problems, proxies))
    if dashboard is not None:
        app.register_blueprint(_assets())
        app.register_blueprint(dashboard)
    app.register_error_handler(HTTPException, lambda error: _protocol().http_failure(error))
    app.register_error_handler(DyndnsError, lambda error: _protocol().refusal(error))
    app.wsgi_app = FastPath(app, authorizer, repeat)  # type: ignore[method-assign, assignment]
    app.after_request(log_request)
    return app


def _protocol() -> ModuleType:
    """Return the protocol of the current request by its path, even if no view answers it."""
    return dyndns2 if request.path.startswith(("/nic/", "/v3/")) else json_api
