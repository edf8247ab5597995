"""The web application: the two faces and the small pages over one core."""

from __future__ import annotations

import logging
import re
from typing import Any, Callable, Dict, List, Optional, Sequence

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from backend.gate import Gate
from backend.updater import Updater
from backend.web import assets, dyndns2, json_api, operator_pages, pages, wire
from backend.web.face import Face

_MAX_BODY = 16 * 1024
_SHORTEST_KEY = 16  # characters; of shorter ones the operator is warned

logger = logging.getLogger(__name__)


def create_app(
    gate: Gate,
    updater: Updater,
    flaws: Callable[[], List[str]],
    proxies: Sequence[wire.Network],
    desk: Optional[Face] = None,
) -> Flask:
    """Return the application. It starts nothing and opens nothing."""
    app = Flask(__name__, static_folder=None)
    app.request_class = wire.BoundedRequest
    app.config["MAX_CONTENT_LENGTH"] = _MAX_BODY
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.wsgi_app = _one_slash(app.wsgi_app)  # type: ignore[method-assign]
    app.register_blueprint(json_api.blueprint(gate, updater, proxies))
    app.register_blueprint(dyndns2.blueprint(gate, updater, proxies))
    app.register_blueprint(pages.blueprint(flaws, proxies))
    if desk is not None:
        app.register_blueprint(assets.blueprint())
        app.register_blueprint(operator_pages.blueprint(gate, desk, proxies))
    app.register_error_handler(HTTPException, _http_failure)
    app.after_request(_log)
    return app


def _one_slash(application: Callable[..., Any]) -> Callable[..., Any]:
    """Read ``//nic//update`` as ``/nic/update``: Werkzeug would answer with a redirect."""

    def call(environ: Dict[str, Any], start_response: Callable[..., Any]) -> Any:  # noqa: ANN401
        path = re.sub("//+", "/", environ.get("PATH_INFO", ""))
        return application({**environ, "PATH_INFO": path}, start_response)

    return call


def _http_failure(error: HTTPException) -> Response:
    """Answer what no view answers in the form of the face it was meant for."""
    if request.path.startswith(("/nic/", "/v3/")):
        return dyndns2.http_failure(error)
    return json_api.http_failure(error)


def _log(response: Response) -> Response:
    # Without the query, which may hold a key.
    path = request.path if request.url_rule is not None else _shown(request.path)
    logger.debug("%s %s %s -> %s", request.remote_addr, request.method, path, response.status_code)
    return response


def _shown(path: str) -> str:
    """Return a path that nobody knows, without what may be a key or would break the line."""
    parts = ["…" if len(part) >= _SHORTEST_KEY else part for part in path.split("/")]
    return "".join(c if c.isprintable() else "?" for c in "/".join(parts))
