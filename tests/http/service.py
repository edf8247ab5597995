"""The service in this process, and its callers."""

from __future__ import annotations

import base64
import dataclasses
import os
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import Any, Iterator

from jinja2 import FileSystemBytecodeCache
from werkzeug.test import TestResponse

from backend.service import build
from backend.settings import read as read_settings
from backend.store import Store
from sandbox import Sandbox
from tests.stores import empty_store

HOME, NAS = "home.example.com", "nas.example.com"
APEX, WILDCARD, DEEP = "example.com", "*.home.example.com", "a.b.c.example.com"
UNICODE, EMOJI = "xn--gre-6ka8i.example.com", "xn--wp8h.example.com"
HOSTS = (HOME, NAS, APEX, WILDCARD, DEEP, UNICODE, EMOJI)
# Registered hosts in special zones.
LAB, OTHER, READ_ONLY, NOWHERE = (
    "home.lab.example.com",
    "home.example.net",
    "home.example.org",
    "home.example.invalid",
)
OPERATOR = ("operator", "the-operators-password")
_COMPILED = tempfile.TemporaryDirectory(prefix="hetzner-dyndns-tests-")
# A caller that connects to the service without a proxy.
PEER = "198.51.100.77"

LIST = "GET /zones?page=1&per_page=50"
CREATE = "POST /zones/example.com/rrsets"


def reading(name: str, zone: str = "example.com") -> str:
    """Return the call that reads both record types of a name."""
    return f"GET /zones/{zone}/rrsets?name={name}&type=A&type=AAAA&type=CNAME"


def setting(name: str, kind: str = "A", zone: str = "example.com") -> str:
    """Return the call that replaces the records of a name."""
    return f"POST /zones/{zone}/rrsets/{name}/{kind}/actions/set_records"


def key_of(host: str) -> str:
    return f"the-secret-key-of-{host}"


def basic(user: str, password: str) -> str:
    """Return the value of an Authorization header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def said(response: TestResponse) -> tuple[int, bytes]:
    """Return status and body of a dyndns2 answer."""
    return response.status_code, response.data


def told(response: TestResponse) -> tuple[int, Any]:
    """Return status and object of a JSON answer."""
    return response.status_code, response.get_json()


def refused(response: TestResponse) -> tuple[int, str]:
    """Return status and code of a JSON error."""
    body = response.get_json()
    assert sorted(body) == ["code", "error"]
    assert len(body["error"]) > 10
    return response.status_code, body["code"]


def record(status: str, ip: str, host: str = HOME) -> dict[str, str]:
    """Return the JSON answer of a successful update."""
    return {"status": status, "fqdn": host, "type": "AAAA" if ":" in ip else "A", "ip": ip}


class Service:
    """Built as in a worker process, but without threads: only requests call Hetzner.

    Two services with the same folder share a store, as two workers do.
    """

    def __init__(self, sandbox: Sandbox, folder: Path, **variables: str) -> None:
        self.sandbox = sandbox
        self.folder = folder
        self.database = folder / "state.db"
        self.key_file = folder / "pre-shared-key"
        hosts = (*HOSTS, LAB, OTHER, READ_ONLY, NOWHERE)
        self._environ = {
            "HETZNER_TOKEN": sandbox.token,
            "HETZNER_API_URL": sandbox.http_url,
            "REGISTERED_FQDNS": ",".join(hosts),
            "PRE_SHARED_KEY_FILE": str(self.key_file),
            "STATE_URL": f"sqlite:///{self.database}",
            "BASIC_AUTH_USERNAME": OPERATOR[0],
            "BASIC_AUTH_PASSWORD": OPERATOR[1],
            # Enough for all failures of a module; other tests cover the limits.
            "AUTH_FAILURE_LIMIT": "1000",
            **variables,
        }
        if not self.key_file.exists():
            self.key_file.write_text("".join(f"{host} {key_of(host)}\n" for host in hosts))
            os.utime(self.key_file, (0, 0))  # an old time skips the wait for the end of an edit
        settings, warnings = read_settings(self._environ)
        self.warnings = [str(warning) for warning in warnings]
        if not self.database.exists():
            shutil.copy(empty_store(), self.database)
        self.hosts = settings.access.hosts
        self._services = build(settings)
        self._stopped = False
        self.app = self._services.app
        # Compiling templates takes longer than most tests.
        self.app.jinja_env.bytecode_cache = FileSystemBytecodeCache(_COMPILED.name)

    def stop(self) -> None:
        """Stop as a worker does, which writes buffered data to the store."""
        if not self._stopped:
            self._stopped = True
            # No thread was started.
            dataclasses.replace(self._services, loops=()).stop()

    def runs(self, job: str) -> None:
        """Run a background job once."""
        for loop in self._services.loops:
            if loop._name == job:  # noqa: SLF001
                loop._action()  # noqa: SLF001

    def asks(self, method: str, path: str, peer: str = PEER, **options: object) -> TestResponse:
        """Send a request; check the form of the answer and return it."""
        environ = {"REMOTE_ADDR": peer, **options.pop("environ_overrides", {})}
        if path.startswith("//"):  # Werkzeug's client would parse the first part as a host
            environ["PATH_INFO"] = path
        options["environ_overrides"] = environ
        with self.app.test_client() as client:
            response = client.open(path, method=method, **options)
        check_form(response)
        return response

    def host(self, name: str = HOME) -> Host:
        return Host(self, name)

    def router(self, name: str = HOME) -> Router:
        return Router(self, name)

    def calls(self) -> list[str]:
        """Return the calls to Hetzner since the last `calls()`."""
        calls = [call.line for call in self.sandbox.calls()]
        self.sandbox.clear_calls()
        return calls

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Return all rows of a table of the store."""
        connection = sqlite3.connect(str(self.database))
        try:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(f"select * from {table}")]  # noqa: S608
        finally:
            connection.close()

    def states(self) -> dict[tuple[str, str], tuple[str | None, str]]:
        """Return the desired address and state of each record."""
        rows = self.rows("records")
        return {(row["host"], row["type"]): (row["desired"], row["state"]) for row in rows}

    def store(self) -> Iterator[Store]:
        store = Store(self._environ["STATE_URL"])
        try:
            yield store
        finally:
            store.close()


class Host:
    """A machine that uses the JSON protocol with its own key."""

    def __init__(self, service: Service, name: str) -> None:
        self._service = service
        self.name = name
        self.headers = {"X-Pre-Shared-Key": key_of(name)}

    def updates(self, ip: str | None = None, **fields: object) -> TestResponse:
        if ip is not None:
            fields["ip"] = ip
        return self.sends("POST", **fields)

    def leaves(self, **fields: object) -> TestResponse:
        return self.sends("DELETE", **fields)

    def sends(self, method: str, peer: str = PEER, **fields: object) -> TestResponse:
        body = {"fqdn": self.name, **fields}
        return self._service.asks(method, "/update", peer, json=body, headers=self.headers)


class Router:
    """A device that uses the dyndns2 protocol; its user name is the first label of the host."""

    def __init__(self, service: Service, name: str) -> None:
        self._service = service
        self.name = name
        self.headers = {"Authorization": basic(name.split(".", 1)[0], key_of(name))}

    def updates(self, **query: str) -> TestResponse:
        return self.asks("GET", {"hostname": self.name, **query})

    def asks(self, method: str, query: object, peer: str = PEER, **options: object) -> TestResponse:
        options.setdefault("headers", self.headers)
        return self._service.asks(method, "/nic/update", peer, query_string=query, **options)


def check_form(response: TestResponse) -> None:
    """Check that an answer has a length, isn't HTML, isn't chunked, and isn't cached."""
    headers = response.headers
    assert headers["Cache-Control"] == "no-store"
    assert "Transfer-Encoding" not in headers
    assert "Content-Encoding" not in headers
    assert "Location" not in headers
    assert b"<" not in response.data
    if response.request.method != "HEAD":
        assert headers["Content-Length"] == str(len(response.data))
    if response.request.environ["PATH_INFO"].rstrip("/") in (
        "/nic/update",
        "//nic/update",
        "/v3/update",
    ):
        assert headers["Content-Type"] == "text/plain; charset=utf-8"
    if headers["Content-Type"].startswith("text/plain"):
        assert headers["Content-Type"] == "text/plain; charset=utf-8"
        assert response.data.endswith(b"\n") or response.request.method == "HEAD"
        assert b"\n\n" not in response.data
        assert b"\r" not in response.data
    else:
        assert headers["Content-Type"] == "application/json"
    challenged = headers.get("WWW-Authenticate") == 'Basic realm="dyndns", charset="UTF-8"'
    assert challenged == (response.status_code == 401)
    waits = response.status_code in (429, 503)
    assert waits == ("Retry-After" in headers)
    assert not waits or int(headers["Retry-After"]) >= 1
