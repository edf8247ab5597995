"""Takes the screenshot for the README: `python -m bench.screenshot` (with Chromium)."""

from __future__ import annotations

import json
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from tests.e2e.processes import OPERATOR, ROOT, Backend, Hetzner

PICTURE = ROOT / "docs" / "images" / "status.png"
ADDRESSES = {
    "home.example.com": ("203.0.113.17", "2001:db8:1:2::1"),
    "nas.example.com": ("203.0.113.17", "2001:db8:1:2:211:32ff:fe11:2233"),
    "office.example.com": ("198.51.100.4",),
    "cabin.example.com": ("198.51.100.23",),
    "*.lab.example.com": ("203.0.113.99",),
}
SILENT, REFUSED, NEVER = "cabin.example.com", "vpn.example.com", "camera.example.com"
HOUR = 3600


def fill(backend: Backend, hetzner: Hetzner) -> None:
    """Send updates from hosts; make Hetzner refuse one host, and one host silent."""
    for host, addresses in ADDRESSES.items():
        for address in addresses:
            backend.update(host, address)
    message = {"code": "protected", "message": "RRSet is change protected", "details": None}
    body = json.dumps({"error": message})
    hetzner.control("POST", "fail", status=403, body=body, path="*rrsets*", method="POST", count=1)
    answer = backend.session.post(
        f"{backend.url}/update", json={"fqdn": REFUSED, "ip": "203.0.113.40"}, auth=OPERATOR
    )
    assert answer.status_code == 502, answer.text
    until_seen(backend, len(ADDRESSES) + 1)
    long_ago = time.time() - 5 * HOUR
    with closing(sqlite3.connect(str(backend.folder / "hetzner-dyndns.db"))) as store, store:
        silent = "UPDATE hosts SET seen_at = ?, silent_since = seen_at WHERE host = ?"
        store.execute(silent, (long_ago, SILENT))
        store.execute("UPDATE hosts SET registered_at = registered_at - 900000, silent_for = 0")
        store.execute("UPDATE records SET changed_at = changed_at - 200000")


def until_watched(backend: Backend) -> None:
    while len(backend.query("SELECT name FROM leases WHERE name IN ('watcher', 'reconciler')")) < 2:
        time.sleep(0.2)


def until_seen(backend: Backend, number: int) -> None:
    while backend.query("SELECT count(*) FROM hosts WHERE seen_at IS NOT NULL") != [(number,)]:
        time.sleep(0.2)
    while backend.query("SELECT count(*) FROM records WHERE state = 'publishing'") != [(0,)]:
        time.sleep(0.2)


def shoot(page: Any) -> None:  # noqa: ANN401
    page.goto("/")
    PICTURE.parent.mkdir(exist_ok=True)
    page.screenshot(path=str(PICTURE), full_page=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        hetzner = Hetzner(Path(folder) / "hetzner")
        hetzner.start()
        hosts = ",".join([*ADDRESSES, REFUSED, NEVER])
        backend = Backend(Path(folder) / "backend", hetzner, REGISTERED_FQDNS=hosts)
        backend.start()
        try:
            until_watched(backend)
            fill(backend, hetzner)
            with sync_playwright() as playwright:
                chromium = playwright.chromium.launch(
                    executable_path="/usr/bin/chromium", args=["--no-sandbox"]
                )
                context = chromium.new_context(
                    http_credentials={"username": OPERATOR[0], "password": OPERATOR[1]},
                    viewport={"width": 1200, "height": 400},
                    base_url=backend.url,
                )
                shoot(context.new_page())
                chromium.close()
        finally:
            backend.stop()
            hetzner.stop()
    print(f"{PICTURE}: {PICTURE.stat().st_size // 1024} KB")


if __name__ == "__main__":
    main()
