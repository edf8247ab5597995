"""The effects of the settings: every value that they set in the running service."""

from __future__ import annotations

import enum
import functools
import ipaddress
import logging
import types
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping

import sqlalchemy as sa
from flask import Flask

from backend.server import gunicorn
from backend.service import build

Values = Dict[str, object]

_PLAIN = (
    *(str, bytes, int, float, bool, type(None), Path, enum.Enum),
    *(ipaddress.IPv4Address, ipaddress.IPv6Address, ipaddress.IPv4Network, ipaddress.IPv6Network),
)


def of(environ: Mapping[str, str]) -> dict[str, Values]:
    """Return the values that a start with this environment gives to each consumer."""
    settings = gunicorn.prepare(environ)
    root = logging.getLogger()
    log = dict(_walk("log", [root.level, root.handlers], set()))
    for handler in root.handlers[:]:
        if type(handler.formatter).__module__ == "backend.server.logs":
            root.removeHandler(handler)
            handler.close()
    with gunicorn.listen(settings.server) as listening:
        options = gunicorn.options(settings, listening)
        bound = listening.getsockname()
    service = build(settings)
    try:
        parts = dict(_walk("service", service, set()))
    finally:
        service.close()
    del options["bind"]  # the number of the socket's file
    return {
        "log": log,
        "socket": dict(_walk("socket", bound, set())),
        "gunicorn": dict(_walk("gunicorn", options, set())),
        "service": parts,
    }


def differences(one: Values, other: Values) -> set[str]:
    """Return where two starts differ."""
    missing = object()
    return {path for path in {*one, *other} if one.get(path, missing) != other.get(path, missing)}


def _walk(path: str, thing: object, seen: set[int]) -> Iterator[tuple[str, object]]:
    if isinstance(thing, _PLAIN):
        yield path, thing
        return
    if id(thing) in seen:
        return
    seen.add(id(thing))
    for name, inner in _inside(thing):
        yield from _walk(f"{path}.{name}", inner, seen)


def _inside(thing: Any) -> Iterator[tuple[str, object]]:  # noqa: ANN401
    if isinstance(thing, Mapping):
        yield from ((str(key), value) for key, value in list(thing.items()))
    elif isinstance(thing, (list, tuple)):
        yield from ((str(place), value) for place, value in enumerate(thing))
    elif isinstance(thing, (set, frozenset)):
        yield "set", repr(sorted(map(str, thing)))
    elif isinstance(thing, sa.engine.Engine):
        yield "url", thing.url.render_as_string(hide_password=False)
        yield "pool", thing.pool.status()
    elif isinstance(thing, functools.partial):
        yield from (("func", thing.func), ("args", thing.args), ("keywords", thing.keywords))
    elif isinstance(thing, types.MethodType):
        yield "self", thing.__self__
    elif isinstance(thing, types.FunctionType):
        cells = [cell.cell_contents for cell in thing.__closure__ or ()]
        yield from ((name, cell) for name, cell in zip(thing.__code__.co_freevars, cells))
    elif isinstance(thing, Flask):
        yield "views", thing.view_functions
        yield "before", thing.before_request_funcs
        yield "wsgi", thing.__dict__.get("wsgi_app")
        yield "config", {key: value for key, value in thing.config.items() if key.isupper()}
    elif type(thing).__module__.startswith(("backend.", "requests.auth", "logging.")):
        yield from getattr(thing, "__dict__", {}).items()
