"""The API calls for actions."""

from __future__ import annotations

import functools
import re
from typing import Callable, Mapping

from flask import g, request

from sandbox.action import Action
from sandbox.exchange import Reply, Route, action_json, page_reply
from sandbox.refusal import ApiError, invalid
from sandbox.zonedata import Zones

_DEPRECATION = (
    "https://docs.hetzner.cloud/changelog#2026-04-30-deprecate-get-resource-action-endpoints"
)


def some_actions(zones: Zones) -> Reply:
    """Return the actions with the given ids; Hetzner can't list all actions of a project."""
    ids = _ids()
    if not ids:
        raise invalid({"id": ["missing"]})
    found = zones.actions(g.project, ids)
    return {"actions": [action_json(zones, action) for action in found]}, 200


def get_action(zones: Zones, action_id: int) -> Reply:
    return {"action": action_json(zones, zones.action(g.project, action_id))}, 200


def list_actions(zones: Zones) -> Reply:
    """Return the actions on all zones that match the query."""
    return _list(zones, zones.actions(g.project, _ids()))


def list_zone_actions(zones: Zones, z: str) -> Reply:
    """Return the actions on one zone that match the query."""
    zone = zones.find(g.project, z)
    return _list(zones, [a for a in zones.actions(g.project, _ids()) if a.zone_id == zone.id])


def get_zone_action(_: Zones, **__: object) -> Reply:
    """Refuse the call: Hetzner removes this path, which is deprecated since 2026-04-30."""
    raise ApiError(410, "this endpoint is deprecated", details={"announcement": _DEPRECATION})


def _list(zones: Zones, actions: list[Action]) -> Reply:
    now, statuses = zones.clock(), request.args.getlist("status")
    fields: Mapping[str, Callable[[Action], object]] = {
        "id": lambda action: action.id,
        "command": lambda action: action.command,
        "status": lambda action: action.status(now),
        "started": lambda action: action.started,
        "finished": lambda action: action.finished(now) or 0,
    }
    found = [a for a in actions if not statuses or a.status(now) in statuses]
    return page_reply("actions", found, fields, functools.partial(action_json, zones))


def _ids() -> list[int]:
    """Return the ids in the query; none means all actions."""
    ids = request.args.getlist("id")
    if not all(re.fullmatch(r"[0-9]{1,18}", text) for text in ids):
        raise invalid({"id": ["must be an integer"]})
    return [int(text) for text in ids]


ROUTES: tuple[Route, ...] = (
    ("GET", "/actions", some_actions),
    ("GET", "/actions/<int:action_id>", get_action),
    ("GET", "/zones/actions", list_actions),
    ("GET", "/zones/actions/<int:action_id>", get_action),
    ("GET", "/zones/<z>/actions", list_zone_actions),
    ("GET", "/zones/<z>/actions/<int:action_id>", get_zone_action),
)
