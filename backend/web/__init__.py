"""The web application: the two faces and the small pages over one core."""

from __future__ import annotations

import logging
from typing import Callable, List, Optional, Sequence

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from backend.gate import Gate
from backend.updater import Updater
from backend.web import assets, dyndns2, json_api, operator_pages, pages, wire
from backend.web.face import Face

_MAX_BODY = 16 * 1024

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
    app.config["MAX_CONTENT_LENGTH"] = _MAX_BODY
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.url_map.merge_slashes = False  # it would answer //nic/update with a redirect
    app.register_blueprint(json_api.blueprint(gate, updater, proxies))
    app.register_blueprint(dyndns2.blueprint(gate, updater, proxies))
    app.register_blueprint(pages.blueprint(flaws, proxies))
    if desk is not None:
        app.register_blueprint(assets.blueprint())
        app.register_blueprint(operator_pages.blueprint(gate, desk, proxies))
    app.register_error_handler(HTTPException, _http_failure)
    app.after_request(_log)
    return app


def _http_failure(error: HTTPException) -> Response:
    """Answer what no view answers in the form of the face it was meant for."""
    if request.path.lstrip("/").startswith(("nic/", "v3/")):
        return dyndns2.http_failure(error)
    return json_api.http_failure(error)


def _log(response: Response) -> Response:
    # The path without the query, which may hold a key.
    logger.debug(
        "%s %s %s -> %s", request.remote_addr, request.method, request.path, response.status_code
    )
    return response
