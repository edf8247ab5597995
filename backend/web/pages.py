"""The small pages: the caller's address, whether the service is well, the API's description."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, List, Sequence

from flask import Blueprint, Response, request

from backend.web import wire

_DOCUMENT = Path(__file__).with_name("openapi.json")


def blueprint(flaws: Callable[[], List[str]], proxies: Sequence[wire.Network]) -> Blueprint:
    """Return the pages, ready to be registered."""
    pages = Blueprint("pages", __name__)
    document = _DOCUMENT.read_bytes()

    @pages.get("/ip")
    def ip() -> Response:
        return _plain(200, wire.client_address(request, proxies))

    @pages.get("/healthz")
    def healthz() -> Response:
        found = flaws()
        return _plain(503 if found else 200, "; ".join(found) or "ok")

    @pages.get("/openapi.json")
    def describe() -> Response:
        headers = {"Cache-Control": "no-store"}
        return Response(document, 200, headers, mimetype="application/json")

    return pages


def _plain(status: int, text: str) -> Response:
    return Response(f"{text}\n", status, {"Cache-Control": "no-store"}, mimetype="text/plain")
