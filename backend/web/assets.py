"""The style sheet and the script: served by us, and kept by browsers until they change."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Dict, Mapping

from flask import Blueprint, Response, abort

_FOLDER = Path(__file__).parent / "static"
_TYPES = {".css": "text/css", ".js": "text/javascript"}
_YEAR = 365 * 24 * 3600


def blueprint() -> Blueprint:
    """Return them, ready to be registered."""
    found: Mapping[str, bytes] = {
        path.name: path.read_bytes() for path in _FOLDER.iterdir() if path.suffix in _TYPES
    }
    versions = {name: _version(content) for name, content in found.items()}
    assets = Blueprint("assets", __name__)

    @assets.get("/static/<version>/<name>")
    def asset(version: str, name: str) -> Response:
        if version != versions.get(name):
            abort(404)
        response = Response(found[name], mimetype=_TYPES[Path(name).suffix])
        response.headers["Cache-Control"] = f"public, max-age={_YEAR}, immutable"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    @assets.app_context_processor
    def known() -> Dict[str, Any]:
        return {"assets": versions}

    return assets


def _version(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
