"""The small pages: the caller's address, and whether the service is well."""

from __future__ import annotations

from typing import Callable, List, Sequence

from flask import Blueprint, Response, request

from backend.web import wire


def blueprint(flaws: Callable[[], List[str]], proxies: Sequence[wire.Network]) -> Blueprint:
    """Return the pages, ready to be registered."""
    pages = Blueprint("pages", __name__)

    @pages.get("/ip")
    def ip() -> Response:
        return _plain(200, wire.client_address(request, proxies))

    @pages.get("/healthz")
    def healthz() -> Response:
        found = flaws()
        return _plain(503 if found else 200, "; ".join(found) or "ok")

    return pages


def _plain(status: int, text: str) -> Response:
    return Response(f"{text}\n", status, {"Cache-Control": "no-store"}, mimetype="text/plain")
