"""The control API below `/_sandbox`: list calls, set failures and delays, reset."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Callable, Mapping, Tuple

from flask import Blueprint, Response, jsonify, request

from sandbox.controls import Controls

_NUMBER = (int, float)
_MATCH = {"path": (str,), "method": (str,), "count": (int, type(None))}
_FAULT = {
    **_MATCH,
    "status": (int,),
    "code": (str,),
    "html": (bool,),
    "location": (str,),
    "body": (str,),
    "headers": (dict,),
    "after": (bool,),
    "drop": (bool,),
}
Fields = Mapping[str, Tuple[type, ...]]

# The fields of each route's request, with their types.
ORDERS: Mapping[str, Fields] = {
    "fail": _FAULT,
    "delay": {**_MATCH, "seconds": _NUMBER},
    "actions": {"outcome": (str,), "count": (int,), "code": (str,), "message": (str,)},
    "zone": {"name": (str,), "status": (str, type(None)), "delegation": (str,)},
}


def control_api(controls: Controls) -> Blueprint:
    """Return the routes. They need no token, and requests to them don't count as calls."""
    blueprint = Blueprint("control_api", __name__, url_prefix="/_sandbox")

    def route(method: str, path: str, act: Callable[[], object]) -> None:
        blueprint.add_url_rule(path, f"{method} {path}", _answering(act), methods=[method])

    route("GET", "/calls", lambda: [dataclasses.asdict(call) for call in controls.calls()])
    route("DELETE", "/calls", controls.clear_calls)
    route("POST", "/reset", controls.reset)
    route("POST", "/fail", lambda: controls.fail(**_order("fail")))
    route("DELETE", "/fail", controls.fail_no_more)
    route("POST", "/delay", lambda: controls.delay(**_order("delay", "seconds")))
    route("DELETE", "/delay", controls.delay_no_more)
    route("POST", "/actions", lambda: controls.actions_end(**_order("actions", "outcome")))
    route("POST", "/zone", lambda: controls.show_zone(**_order("zone", "name")))
    return blueprint


def _answering(act: Callable[[], object]) -> Callable[[], Response]:
    def answer() -> Response:
        try:
            result = act()
        except ValueError as error:
            response = jsonify(error=str(error))
            response.status_code = 400
            return response
        return jsonify({"done": True} if result is None else result)

    return answer


def _order(route: str, *required: str) -> dict[str, Any]:
    """Return the JSON object of the request; raise ValueError if it doesn't fit the route."""
    fields = ORDERS[route]
    known = f"send a JSON object with {', '.join(sorted(fields))}"
    try:
        order = json.loads(request.get_data() or b"{}")
    except ValueError as error:
        raise ValueError(f"the body is not JSON: {known}") from error
    if not isinstance(order, dict):
        raise ValueError(f"the body is not a JSON object: {known}")  # noqa: TRY004
    for name, value in order.items():
        if name not in fields:
            raise ValueError(f"there is no field '{name}': {known}")
        if type(value) not in fields[name]:
            kinds = " or ".join(kind.__name__ for kind in fields[name])
            raise ValueError(f"'{name}' must be of type {kinds}")
    for name in required:
        if name not in order:
            raise ValueError(f"'{name}' is missing: {known}")
    return order
