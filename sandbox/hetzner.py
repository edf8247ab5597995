"""The Cloud DNS API as a Flask app: routes and errors."""

from __future__ import annotations

import functools
import json

from flask import Blueprint, Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from sandbox import action_calls, rrset_calls, zone_calls
from sandbox.guard import Guard
from sandbox.refusal import ApiError
from sandbox.zonedata import Zones


def create_app(zones: Zones, guard: Guard, control_api: Blueprint | None = None) -> Flask:
    """Return the app for these zones, with the control API if given."""
    app = Flask(__name__, static_folder=None)
    # A path with a double slash is unknown; a redirect would hide the caller's mistake.
    app.url_map.merge_slashes = False
    app.json.sort_keys = False  # type: ignore[attr-defined]  # of the default provider
    guard.register(app)
    app.register_blueprint(_api(zones))
    if control_api:
        app.register_blueprint(control_api)
    app.register_error_handler(ApiError, _refuse)
    app.register_error_handler(HTTPException, _refuse_http)
    return app


def _api(zones: Zones) -> Blueprint:
    api = Blueprint("v1", __name__, url_prefix="/v1")
    for method, path, call in (*zone_calls.ROUTES, *rrset_calls.ROUTES, *action_calls.ROUTES):
        view = functools.partial(call, zones)
        api.add_url_rule(path, f"{method} {path}", view, methods=[method])
    api.after_request(_add_link)
    return api


def _add_link(response: Response) -> Response:
    """Add the header `Link`, which at Hetzner lacks the filters of the query."""
    if "pages" in g:
        fields = {"prev": "previous_page", "next": "next_page", "last": "last_page"}
        size = g.pages["per_page"]
        response.headers["Link"] = ", ".join(
            f'<{request.base_url}?page={g.pages[field]}&per_page={size}>; rel="{relation}"'
            for relation, field in fields.items()
            if g.pages[field]
        )
    return response


def _refuse(error: ApiError) -> Response:
    return Response(_json(error.body()), error.status, mimetype="application/json")


def _json(body: object) -> str:
    return json.dumps(body, separators=(",", ":")) + "\n"


def _refuse_http(error: HTTPException) -> Response:
    status = error.code or 500
    return _refuse(ApiError(status, error.name.lower()))
