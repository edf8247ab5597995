"""The doors for tests and for trying things out: look at calls, order trouble, start over."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Callable, Dict, Mapping, Tuple

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

# What may be ordered at which door, each field with its types.
ORDERS: Mapping[str, Fields] = {
    "fail": _FAULT,
    "delay": {**_MATCH, "seconds": _NUMBER},
    "actions": {"outcome": (str,), "count": (int,)},
}


def control_api(controls: Controls) -> Blueprint:
    """The doors, all below `/_sandbox`; none of them wants a token or counts as a call."""
    blueprint = Blueprint("doors", __name__, url_prefix="/_sandbox")

    def door(method: str, path: str, act: Callable[[], object]) -> None:
        blueprint.add_url_rule(path, f"{method} {path}", _answering(act), methods=[method])

    door("GET", "/calls", lambda: [dataclasses.asdict(call) for call in controls.calls()])
    door("DELETE", "/calls", controls.forget_calls)
    door("POST", "/reset", controls.reset)
    door("POST", "/fail", lambda: controls.fail(**_order("fail")))
    door("DELETE", "/fail", controls.fail_no_more)
    door("POST", "/delay", lambda: controls.delay(**_order("delay", "seconds")))
    door("DELETE", "/delay", controls.delay_no_more)
    door("POST", "/actions", lambda: controls.actions_end(**_order("actions", "outcome")))
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


def _order(door: str, *required: str) -> Dict[str, Any]:
    """The request's JSON object, if it holds nothing but this door's fields, each of its type."""
    fields = ORDERS[door]
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
