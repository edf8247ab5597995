"""The web application: the two faces and the small pages over one core."""

from __future__ import annotations

import logging
import re
from types import ModuleType
from typing import Callable, Iterable, List, Optional, Sequence

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from backend.access.gate import Gate
from backend.access.keys import SHORTEST
from backend.errors import DyndnsError
from backend.publishing.updater import Updater
from backend.web import assets, dyndns2, json_api, operator_pages, pages, wire
from backend.web.face import Face
from backend.web.shortcut import Application, Environ, Shortcut, Start
from backend.web.sites import SiteCheck

logger = logging.getLogger(__name__)


def create_app(
    gate: Gate,
    updater: Updater,
    flaws: Callable[[], List[str]],
    proxies: Sequence[wire.Network],
    face: Optional[Face] = None,
) -> Flask:
    """Return the application. It starts nothing and opens nothing."""
    app = Flask(__name__, static_folder=None)
    app.request_class = wire.BoundedRequest
    app.config["MAX_CONTENT_LENGTH"] = wire.MAX_BODY
    app.config["PROPAGATE_EXCEPTIONS"] = False
    shortcut = Shortcut(app.wsgi_app, gate, updater)
    app.wsgi_app = _one_slash(shortcut)  # type: ignore[method-assign, assignment]
    app.before_request(wire.read_body)
    sites = SiteCheck(proxies)
    app.register_blueprint(json_api.blueprint(gate, updater, proxies, sites))
    app.register_blueprint(dyndns2.blueprint(gate, updater, proxies, sites))
    app.register_blueprint(pages.blueprint(flaws, proxies))
    if face is not None:
        app.register_blueprint(assets.blueprint())
        app.register_blueprint(operator_pages.blueprint(gate, face, proxies))
    app.register_error_handler(HTTPException, lambda error: _face().http_failure(error))
    app.register_error_handler(DyndnsError, lambda error: _face().refusal(error))
    app.after_request(_log)
    return app


def _one_slash(application: Application) -> Application:
    """Read ``//nic//update`` as ``/nic/update``: Werkzeug would answer with a redirect."""

    def call(environ: Environ, start_response: Start) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if "//" in path:
            environ["PATH_INFO"] = re.sub("//+", "/", path)
        return application(environ, start_response)

    return call


def _face() -> ModuleType:
    """Return the face that the current request was meant for, also when no view answers it."""
    return dyndns2 if request.path.startswith(("/nic/", "/v3/")) else json_api


def _log(response: Response) -> Response:
    # Neither the query, which may hold a key, nor any other words of a stranger.
    rule = request.url_rule
    path = rule.rule if rule is not None else _shown(request.path)
    logger.debug("%s %s %s -> %s", request.remote_addr, request.method, path, response.status_code)
    return response


def _shown(path: str) -> str:
    """Return a path that nobody knows, without what may be a key or would break the line."""
    parts = ["…" if len(part) >= SHORTEST else part for part in path.split("/")]
    return "".join(c if c.isprintable() else "?" for c in "/".join(parts))
