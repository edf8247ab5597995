"""Properties of the parsers that must hold for any input: one function for each parser.

In the tests, Hypothesis calls these functions with a limited number of inputs; in `make fuzz`,
atheris calls them for a limited time.
"""

from __future__ import annotations

import base64
import contextlib
import io
import ipaddress
import json
from pathlib import Path
from typing import Any, Callable, Mapping
from urllib.parse import unquote_to_bytes

from flask import Flask, request
from werkzeug.exceptions import HTTPException

from backend import settings
from backend.auth import addresses, keys
from backend.errors import (
    BadAddress,
    BadHostname,
    BadRecordType,
    CallerError,
    DyndnsError,
    KeyFileUnusable,
    SettingUnusable,
    StoreUnusable,
)
from backend.hetzner.client import decode
from backend.hetzner.dns import ActionState, Hetzner, Location, RRSet, Zone
from backend.model import (
    Address,
    Credentials,
    Deadline,
    DesiredRecord,
    Hostname,
    Parameter,
    Prefix,
    RecordType,
    Requester,
    UpdateRequest,
)
from backend.readers import Reader
from backend.store.challenges import Challenge
from backend.store.database import connect
from backend.web.caller import client_address
from backend.web.json_api import read_challenge
from backend.web.request import BoundedRequest, header_logins, read_body, read_updates

# Must not occur in our own messages.
SECRET = "canary-7f3a9c51e2"
TRUSTED = Reader({}).section(settings.AccessSettings).trusted_proxies
APP = Flask(__name__)
APP.request_class = BoundedRequest
APP.config["MAX_CONTENT_LENGTH"] = 16 * 1024


def hostname(text: str) -> None:
    try:
        host = Hostname.parse(text)
    except BadHostname as error:
        _fit_to_show(error)
        return
    assert Hostname.parse(host.text) == host
    assert host.text.isascii()
    assert host.text == host.text.lower()
    assert 3 <= len(host.text) <= 253
    assert all(1 <= len(label) <= 63 for label in host.text.split("."))


def address(text: str) -> None:
    with contextlib.suppress(BadRecordType):
        RecordType.parse(text)
    try:
        found = Address.parse(text)
    except BadAddress as error:
        _fit_to_show(error)
        return
    assert Address.parse(str(found)) == found
    assert not any((found.ip.is_multicast, found.ip.is_unspecified, found.ip.is_link_local))


def given_addresses(text: str) -> None:
    first, _, second = text.partition("\n")
    for texts, prefixes in (([text], []), ([], [text]), ([first], [second]), ([first, second], [])):
        asked = UpdateRequest(
            "dyndns2",
            "203.0.113.9",
            (),
            addresses=tuple(Parameter("myip", text) for text in texts),
            prefixes=tuple(Parameter("ip6lanprefix", text) for text in prefixes),
        )
        try:
            found, _ = addresses.read(asked)
        except BadAddress as error:
            _fit_to_show(error)
            continue
        assert found
        for one in found:
            if isinstance(one, Address):
                assert Address.parse(str(one)) == one
            elif isinstance(one, Prefix):
                whole = one.address_of(ipaddress.IPv6Address("::211:32ff:fe11:2233"))
                assert ipaddress.IPv6Address(whole) in one.network


def client_address_of(text: str) -> None:
    first, _, rest = text.partition("\n")
    second, _, third = rest.partition("\n")
    environ = {"REMOTE_ADDR": first, "HTTP_X_REAL_IP": second, "HTTP_X_FORWARDED_FOR": third}
    for peer in (first, "10.0.0.1"):
        with APP.test_request_context(environ_overrides={**environ, "REMOTE_ADDR": peer}):
            found = client_address(request.environ, TRUSTED)
        assert not found or str(ipaddress.ip_address(found.split("%")[0]))
        assert peer or not found


def credentials_of(text: str) -> None:
    login = base64.b64encode(f"{text}:{SECRET}".encode("utf-8", "surrogatepass")).decode()
    for name, header in (
        ("HTTP_AUTHORIZATION", text),
        ("HTTP_AUTHORIZATION", f"Basic {login}"),
        ("HTTP_X_PRE_SHARED_KEY", f"{text}{SECRET}"),
    ):
        with APP.test_request_context(environ_overrides={name: header}):
            found = header_logins(request)
        assert all(isinstance(one, Credentials) for one in found)
        assert SECRET not in repr(found)


def dyndns2_request(data: bytes) -> None:
    query, _, body = data.partition(b"\n")
    for kind in ("application/x-www-form-urlencoded", "multipart/form-data; boundary=b"):
        environ = {
            "QUERY_STRING": query.decode("latin-1"),
            "CONTENT_TYPE": kind,
            "CONTENT_LENGTH": str(len(body)),
            "REQUEST_METHOD": "POST",
            "wsgi.input": io.BytesIO(body),
        }
        with APP.request_context({**_environ(), **environ}):
            _believable("dyndns2")


def json_request(data: bytes) -> None:
    for kind in ("application/json", "application/x-www-form-urlencoded", ""):
        environ = {
            "CONTENT_TYPE": kind,
            "CONTENT_LENGTH": str(len(data)),
            "REQUEST_METHOD": "POST",
            "wsgi.input": io.BytesIO(data),
        }
        with APP.request_context({**_environ(), **environ}):
            _believable("json")


def acme_request(data: bytes) -> None:
    for protocol, fields in (("httpreq", ("fqdn", "value")), ("acme-dns", ("subdomain", "txt"))):
        environ = {
            "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": str(len(data)),
            "REQUEST_METHOD": "POST",
            "wsgi.input": io.BytesIO(data),
        }
        with APP.request_context({**_environ(), **environ}):
            asked, value = read_challenge(TRUSTED, protocol, fields, [])
        try:
            if asked.problem is not None:
                raise asked.problem
            host = Hostname.parse(asked.name)
            name = Challenge(host, value, Requester(asked.source, protocol)).name.text
        except CallerError as error:
            _fit_to_show(error)
            continue
        assert len(value) == 43
        assert '"' not in value
        assert name == f"_acme-challenge.{host.text[2:] if host.is_wildcard else host}"


def key_file(text: str) -> None:
    for content in (text, f"{text} {SECRET}", f"home.example.com {SECRET}\n{text}"):
        try:
            found = keys.parse(content, Path("keys"))
        except KeyFileUnusable as error:
            _fit_to_show(error)
            continue
        assert all(key and not any(c.isspace() for c in key) for key in found.values())


def setting(text: str) -> None:
    """Set each variable to the text in turn; all others are valid, with a marker in the secrets."""
    valid = {
        "HETZNER_TOKEN": SECRET,
        "BASIC_AUTH_USERNAME": "operator",
        "BASIC_AUTH_PASSWORD": SECRET,
        "STATE_URL": f"postgresql+psycopg://dyndns:{SECRET}@db.example.com/dyndns",
        "NTFY_URL": "https://ntfy.example.com",
        "NTFY_TOPIC": "topic",
        "NTFY_TOKEN": SECRET,
    }
    for variable in settings.VARIABLES:
        value = f"{SECRET}{text}" if variable.is_secret else text
        try:
            found, warnings = settings.read({**valid, variable.name: value})
        except SettingUnusable as error:
            _fit_to_show(error)
            continue
        assert SECRET not in repr(found) + "".join(map(str, warnings))


def store_url(text: str) -> None:
    for url in (text, f"postgresql+psycopg://u:{SECRET}@{text}", f"{text}://u:{SECRET}@h/d"):
        try:
            connect(url, pool_size=1).dispose()
        except StoreUnusable as error:
            _fit_to_show(error)


def hetzner_answer(data: bytes) -> None:
    """Decode an answer of Hetzner, with various statuses and for every call."""
    token = SECRET
    for status in (200, 201, 301, 401, 404, 409, 422, 429, 500, 503):
        headers = {"retry-after": data[:9].decode("latin-1"), "location": f"/{SECRET}"}
        try:
            answer = decode(status, headers, data, token)
        except DyndnsError as error:
            _fit_to_show(error)
            continue
        hetzner_object(answer)


def hetzner_object(answer: Mapping[str, Any]) -> None:
    """Parse an object, or raise the error for an invalid answer."""
    dns = Hetzner(_Scripted(answer), ttl=60, chosen_ttl=300)  # type: ignore[arg-type]
    rrset = RRSet({"198.51.100.1": ""}, 60)
    desired = DesiredRecord(RecordType.A, Address.parse("198.51.100.2"))
    location = Location(Zone("example.com", "primary", dns), "home")
    deadline = Deadline(60)
    calls: dict[str, Callable[[], Any]] = {
        "zones": lambda: dns.zones(deadline),
        "read": lambda: dns.read(location, deadline),
        "create": lambda: dns.put(location, desired, None, deadline),
        "put": lambda: dns.put(location, desired, rrset, deadline),
        "actions": lambda: dns.actions([1], deadline),
        "texts": lambda: {"TXT": dns.read_texts(location, deadline)},
        "text": lambda: dns.add_text(location, '"text"', rrset, deadline),
    }
    for name, call in calls.items():
        try:
            found = call()
        except DyndnsError as error:
            _fit_to_show(error)
            continue
        _fit_to_store(name, found)


class _Scripted:
    """Replaces `CloudApi`: every call returns the same answer."""

    is_low = False

    def __init__(self, answer: Mapping[str, Any]) -> None:
        self._answer = answer

    def call(self, *_: object, **__: object) -> Mapping[str, Any]:
        return self._answer


def _environ() -> dict[str, Any]:
    return {
        "REMOTE_ADDR": "198.51.100.1",
        "SERVER_NAME": "backend",
        "SERVER_PORT": "80",
        "PATH_INFO": "/update",
        "wsgi.url_scheme": "http",
    }


def _believable(protocol: str) -> None:
    try:
        read_body()
        update_requests = read_updates(request, TRUSTED, protocol)
    except (DyndnsError, HTTPException):
        return
    assert 1 <= len(update_requests) <= 20
    assert all(isinstance(update_request, UpdateRequest) for update_request in update_requests)


def _fit_to_show(error: DyndnsError) -> None:
    """Check that a message is fit for callers, the log, the store and pushes."""
    text = str(error)
    assert text.strip()
    assert SECRET not in text, text
    assert "\n" not in text, text
    text.encode("utf-8")
    assert len(text) < 1000


def _fit_to_store(name: str, found: Any) -> None:  # noqa: ANN401
    if name in ("create", "put"):
        assert all(0 <= action < 2**63 for action in found.actions)
    elif name == "actions":
        assert all(isinstance(one, ActionState) for one in found.values())
        json.dumps([one.error for one in found.values()], ensure_ascii=False).encode("utf-8")
    elif name == "text":
        assert 0 <= found < 2**63
    elif name in ("read", "texts"):
        for rrset in found.values():
            str(rrset).encode("utf-8")
            "".join(rrset.comments.values()).encode("utf-8")
            rrset.holds(Address.parse("198.51.100.1"))
    else:
        for zone in found:
            zone.name.encode("utf-8")
            unquote_to_bytes(zone.path)


TEXTS = (
    hostname,
    address,
    given_addresses,
    client_address_of,
    credentials_of,
    key_file,
    setting,
    store_url,
)
BYTES = (dyndns2_request, json_request, acme_request, hetzner_answer)
