"""Dropping an update on the page, over a real socket and without a browser."""

from __future__ import annotations

import html
import json
import re

from tests.e2e.processes import OPERATOR, Backend, Hetzner, until


def page(backend: Backend, host: str) -> str:
    answer = backend.session.get(f"{backend.url}/hosts/{host}", auth=OPERATOR, timeout=20)
    assert answer.status_code == 200, answer.text
    return answer.text


def send(backend: Backend, host: str) -> int:
    return backend.session.post(
        f"{backend.url}/update",
        json={"fqdn": host, "ip": "198.51.100.7"},
        auth=OPERATOR,
        timeout=20,
    ).status_code


def token(text: str) -> str:
    found = re.search(r'name="token" value="([^"]*)"', text)
    assert found
    return html.unescape(found[1])


def drop(backend: Backend, host: str, text: str) -> str:
    """Submit the form for a drop; return the page that follows."""
    answer = backend.session.post(
        f"{backend.url}/hosts/{host}/drop",
        data={"token": token(text)},
        auth=OPERATOR,
        timeout=20,
    )
    assert answer.status_code == 200
    return answer.text


def test_a_drop_is_asked_about_with_what_is_lost(
    backend: Backend, hetzner: Hetzner, host: str
) -> None:
    body = json.dumps({"error": {"code": "protected", "message": "protected", "details": None}})
    path = "/zones/example.com/rrsets*"
    # The first list of zones after the start retries a refused update.
    hetzner.control("POST", "fail", status=403, body=body, path=path, method="POST", count=None)
    assert send(backend, host) == 502
    asked = page(backend, host)
    box = re.search(r'<details id="drop-box">(.*?)</details>', asked, re.DOTALL)
    assert box
    assert "A: The address 198.51.100.7 will not be published" in box[1]
    assert "Drop it" in box[1]
    assert "dropped" in drop(backend, host, asked)
    left = f"SELECT 1 FROM records WHERE host = '{host}'"  # noqa: S608  # our own name
    assert backend.query(left) == []
    assert "Drop" not in page(backend, host)
    hetzner.control("DELETE", "fail")


def test_a_waiting_update_can_not_be_dropped(backend: Backend, hetzner: Hetzner, host: str) -> None:
    path = "/zones/example.com/rrsets*"
    hetzner.control("POST", "fail", status=503, path=path, method="POST", count=1)
    hetzner.control("POST", "fail", status=503, path=path, method="GET", count=1)
    assert send(backend, host) == 503
    waiting = page(backend, host)
    assert "Drop" not in waiting
    drop(backend, host, waiting)
    states = f"SELECT state FROM records WHERE host = '{host}'"  # noqa: S608  # our own name
    until(lambda: backend.query(states) == [("published",)], "the update to be published")
