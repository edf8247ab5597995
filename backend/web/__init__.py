"""The web application: the two faces and the small pages over one core."""

from __future__ import annotations

import logging
from typing import Callable, Sequence

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from backend.gate import Gate
from backend.updater import Updater
from backend.web import dyndns2, json_api, pages, wire

_MAX_BODY = 16 * 1024

logger = logging.getLogger(__name__)


def create_app(
    gate: Gate, updater: Updater, ping: Callable[[], None], proxies: Sequence[wire.Network]
) -> Flask:
    """Return the application. It starts nothing and opens nothing."""
    app = Flask(__name__, static_folder=None)
    app.request_class = wire.BoundedRequest
    app.config["MAX_CONTENT_LENGTH"] = _MAX_BODY
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.url_map.merge_slashes = False  # it would answer //nic/update with a redirect
    app.register_blueprint(json_api.blueprint(gate, updater, proxies))
    app.register_blueprint(dyndns2.blueprint(gate, updater, proxies))
    app.register_blueprint(pages.blueprint(ping, proxies))
    app.register_error_handler(HTTPException, _http_failure)
    app.after_request(_log)
    return app


def _http_failure(error: HTTPException) -> Response:
    """Answer what no view answers in the form of the face it was meant for."""
    if request.path.lstrip("/").startswith(("nic/", "v3/")):
        return dyndns2.http_failure(error)
    return json_api.http_failure(error)


def _log(response: Response) -> Response:
    # The path without the query, which may hold a key; on one line, whatever is in it.
    logger.debug(
        "%s %s %r -> %s", request.remote_addr, request.method, request.path, response.status_code
    )
    return response
