"""How a call of the API reads the request at hand and words its answer."""

from __future__ import annotations

import json
from typing import Callable, List, Mapping, Sequence, Tuple, TypeVar

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
    """The request's JSON object; with `known` fields named, all others are faults."""
    try:
        body = json.loads(request.get_data())
    except ValueError as error:
        raise ApiError(400, "the request body is not valid JSON") from error
    if not isinstance(body, dict):
        raise ApiError(400, "the request body must be a JSON object")
    return Input(body, *known)


def selects() -> listing.Selects:
    """What the query's label selector asks for."""
    return listing.selector(request.args.get("label_selector", ""))


def ordered(items: Sequence[T], fields: Mapping[str, Callable[[T], object]]) -> List[T]:
    """Sorted as the query asks, which may name several of these fields."""
    return listing.ordered(items, request.args.getlist("sort"), fields)


def page_reply(name: str, items: Sequence[T], shape: Callable[[T], Shape], most: int = 50) -> Reply:
    """The page that the query asks for."""
    part, numbers = listing.page(items, request.args, most)
    g.last_page = numbers["last_page"]
    return {name: [shape(item) for item in part], "meta": {"pagination": numbers}}, 200


def zone_json(zones: Zones, zone: Zone) -> Shape:
    """A zone as of now."""
    return zone_shape(zone, zones.status(zone))


def action_json(zones: Zones, action: Action) -> Shape:
    """An action as of now."""
    return action_shape(action, zones.clock())


def change_reply(
    zones: Zones,
    z: str,
    command: str,
    edit: Callable[..., Zone],
    *arguments: object,
    **named: object,
) -> Reply:
    """Carry out one write: `edit` of the zone as it is then, with these arguments."""
    action = zones.change(g.project, z, command, lambda zone: edit(zone, *arguments, **named))
    return {"action": action_json(zones, action)}, 201
