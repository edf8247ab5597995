"""The small pages: the caller's address, and whether the service is well."""

from __future__ import annotations

from typing import Callable, Sequence

from flask import Blueprint, Response, request

from backend.errors import StoreUnavailable
from backend.web import wire


def blueprint(ping: Callable[[], None], proxies: Sequence[wire.Network]) -> Blueprint:
    """Return the pages, ready to be registered."""
    pages = Blueprint("pages", __name__)

    @pages.get("/ip")
    def ip() -> Response:
        return _plain(200, wire.client_address(request, proxies))

    @pages.get("/healthz")
    def healthz() -> Response:
        try:
            ping()
        except StoreUnavailable:
            return _plain(503, "the store doesn't answer")
        return _plain(200, "ok")

    return pages


def _plain(status: int, text: str) -> Response:
    return Response(f"{text}\n", status, {"Cache-Control": "no-store"}, mimetype="text/plain")
