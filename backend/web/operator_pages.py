"""All pages of the operator behind one login: status, hosts, metrics."""

from __future__ import annotations

import logging
from typing import Sequence

from flask import Blueprint, Response, request
from flask.blueprints import BlueprintSetupState
from werkzeug.exceptions import HTTPException

from backend import errors
from backend.access.gate import Gate
from backend.operations.gauges import gauges
from backend.web import board, face, wire
from backend.web.face import Face
from backend.web.host_page import HostPage
from backend.web.words import FILTERS

logger = logging.getLogger(__name__)


def blueprint(gate: Gate, operator_face: Face, proxies: Sequence[wire.Network]) -> Blueprint:
    """Return the pages, ready to be registered."""
    pages = Blueprint("operator", __name__)
    board.add_to(pages, operator_face)
    HostPage(operator_face, proxies).add_to(pages)

    @pages.before_request
    def admit() -> None:
        face.admit(gate, operator_face, proxies)

    @pages.get("/metrics")
    def metrics() -> Response:
        try:
            snapshot = operator_face.overview.read()
        except errors.StoreUnavailable:
            snapshot = None
        text = operator_face.meters.exposition(gauges(snapshot))
        return Response(text, content_type="text/plain; version=0.0.4; charset=utf-8")

    @pages.record
    def prepare(state: BlueprintSetupState) -> None:
        state.app.jinja_env.filters.update(FILTERS)
        state.app.jinja_env.trim_blocks = True
        state.app.jinja_env.lstrip_blocks = True

    @pages.errorhandler(errors.DyndnsError)
    def refuse(error: errors.DyndnsError) -> Response:
        return face.refusal(error)

    @pages.errorhandler(Exception)
    def crash(error: Exception) -> Response:
        if isinstance(error, HTTPException):
            return face.page(error.code or 500, error.name, error.description or "")
        logger.error("A request to %s failed", request.url_rule, exc_info=error)
        return face.page(500, "Something went wrong", "The log says what.")

    pages.after_request(face.guarded)
    return pages
