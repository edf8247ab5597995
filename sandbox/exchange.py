"""Reads the current API request and builds its answer."""

from __future__ import annotations

import json
from typing import Callable, Mapping, Sequence, Tuple, TypeVar

from flask import g, request

from sandbox import listing
from sandbox.action import Action
from sandbox.refusal import ApiError
from sandbox.shapes import Shape, action_shape, zone_shape
from sandbox.validation import Input
from sandbox.zone import Zone
from sandbox.zonedata import Zones

T = TypeVar("T")
Reply = Tuple[Shape, int]
Route = Tuple[str, str, Callable[..., Reply]]


def body_input(*known: str) -> Input:
    """Return the JSON object of the request. If `known` fields are given, others are errors."""
    try:
        body = json.loads(request.get_data())
    except ValueError as error:
        raise ApiError(400, "the request body is not valid JSON") from error
    if not isinstance(body, dict):
        raise ApiError(400, "the request body must be a JSON object")
    return Input(body, *known)


def selects() -> listing.Selects:
    """Return the label selector of the query."""
    return listing.selector(request.args.get("label_selector", ""))


def page_reply(
    name: str,
    items: Sequence[T],
    sorts: Mapping[str, Callable[[T], object]],
    shape: Callable[[T], Shape],
    most: int = 50,
) -> Reply:
    """Return the requested page; the query may sort by the fields `sorts`."""
    ordered = listing.ordered(items, request.args.getlist("sort"), sorts)
    part, numbers = listing.page(ordered, request.args, most)
    g.pages = numbers
    return {name: [shape(item) for item in part], "meta": {"pagination": numbers}}, 200


def zone_json(zones: Zones, zone: Zone) -> Shape:
    """Return the current state of a zone."""
    return zone_shape(zone, zones.status(zone))


def action_json(zones: Zones, action: Action) -> Shape:
    """Return the current state of an action."""
    return action_shape(action, zones.clock())


def change_reply(
    zones: Zones,
    z: str,
    command: str,
    edit: Callable[..., Zone],
    *arguments: object,
    **named: object,
) -> Reply:
    """Execute one write: call `edit` with the current zone and these arguments."""
    action = zones.change(g.project, z, command, lambda zone: edit(zone, *arguments, **named))
    return {"action": action_json(zones, action)}, 201
