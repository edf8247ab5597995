"""A stand-in for the original system, which had about 600 lines and isn't in this repository.

python -m bench.original PORT KEY_FILE

Like the original, it is a Flask app in one synchronous gunicorn worker, whose memory is a dict: it
knows no store, no other process and no proxy but one. Of an unchanged update it does what the
original did: it reads the request, checks the login against the keys, validates name and address,
notes when the host was seen, and answers from the memory. It takes each first address as published.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import re
import sys
import time
from pathlib import Path
from typing import Any, Mapping

from flask import Flask, Response, jsonify, request
from gunicorn.app.base import BaseApplication

logger = logging.getLogger(__name__)
app = Flask(__name__)
keys: dict[str, str] = {}
cache: dict[tuple[str, str], tuple[str, float]] = {}
last_seen: dict[str, float] = {}
_NAME = re.compile(r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}")
_CACHE_TTL = 300


class Refused(Exception):
    pass


def client_ip() -> str:
    forwarded = request.headers.get("X-Forwarded-For", "").split(",")[0].strip()
    return request.headers.get("X-Real-Ip") or forwarded or request.remote_addr or ""


def is_allowed(fqdn: str, secret: str | None) -> bool:
    return hmac.compare_digest(keys.get(fqdn, ""), secret or "") and fqdn in keys


def change(fqdn: str, text: str, kind: str) -> tuple[str, str]:
    """Return whether an address is new, and the address."""
    if not _NAME.fullmatch(fqdn):
        raise Refused("invalid FQDN")
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        raise Refused("invalid IP") from None
    if kind != ("A" if ip.version == 4 else "AAAA"):
        raise Refused("type and IP don't match")
    now = time.time()
    last_seen[fqdn] = now
    known = cache.get((fqdn, kind))
    if known is not None and known[0] == str(ip) and now - known[1] < _CACHE_TTL:
        logger.debug("%s: no change (cache)", fqdn)
        return "unchanged", str(ip)
    cache[fqdn, kind] = str(ip), now
    return "updated", str(ip)


@app.route("/update", methods=["POST"])
def update() -> tuple[Response, int]:
    data = request.get_json(silent=True) or {}
    fqdn = str(data.get("fqdn", "")).lower()
    login = request.authorization
    secret = request.headers.get("X-Pre-Shared-Key") or (login.password if login else None)
    if not is_allowed(fqdn, secret):
        return jsonify(error="unauthorized"), 401
    try:
        status, ip = change(fqdn, data.get("ip") or client_ip(), data.get("type") or "A")
    except Refused as error:
        return jsonify(error=str(error)), 400
    return jsonify(status=status, fqdn=fqdn, ip=ip), 200


@app.route("/nic/update", methods=["GET", "POST"])
def nic_update() -> tuple[str, int]:
    fqdn = request.values.get("hostname", "").lower()
    login = request.authorization
    user = (login.username if login else request.values.get("user")) or ""
    secret = login.password if login else request.values.get("pass")
    if user not in (fqdn, fqdn.split(".", 1)[0]) or not is_allowed(fqdn, secret):
        return "badauth", 401
    text = request.values.get("myip") or client_ip()
    try:
        status, ip = change(fqdn, text, "AAAA" if ":" in text else "A")
    except Refused:
        return "notfqdn", 400
    return f"{'nochg' if status == 'unchanged' else 'good'} {ip}", 200


class _Server(BaseApplication):  # type: ignore[misc]
    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._given = settings
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._given.items():
            self.cfg.set(name, value)

    def load(self) -> Any:  # noqa: ANN401
        return app


def main() -> None:
    port, key_file = sys.argv[1:]
    lines = Path(key_file).read_text(encoding="ascii").splitlines()
    keys.update(line.split() for line in lines)
    _Server({"bind": f"127.0.0.1:{port}", "workers": 1, "worker_class": "sync"}).run()


if __name__ == "__main__":
    main()
