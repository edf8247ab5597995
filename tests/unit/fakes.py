"""Replacements for the clock, Hetzner's API and the event sink in unit tests."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any, Iterable, Mapping, NamedTuple
from urllib.parse import unquote

from backend.errors import ChangeRefused, DyndnsError, SecondaryZone, TokenRejected
from backend.events import Event
from backend.hetzner.client import AlreadyExists, NotFound
from backend.model import Address, Deadline, DesiredRecord, Hostname, RecordType, Requester, Update
from backend.notify.channels import Ntfy
from backend.readers import Reader
from backend.settings import NtfySettings

ROUTER = Requester("198.51.100.1", "dyndns2")


class Clock:
    """A clock that only a test advances."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def ntfy_at(url: str, **others: Any) -> Ntfy:  # noqa: ANN401
    """The topic `dyndns` on a server, with other settings by the names of their fields."""
    defaults = Reader({}).section(NtfySettings)
    return Ntfy(dataclasses.replace(defaults, url=url, topic="dyndns", **others))


class RecordingSink:
    """An event sink that records its events."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.pushed: list[Event] = []  # those that aren't reported quietly

    def report(self, event: Event, *, quietly: bool = False) -> None:
        self.events.append(event)
        if not quietly:
            self.pushed.append(event)

    def heard(self, *kinds: type[Any]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kinds)]


class Call(NamedTuple):
    """One call to Hetzner's API."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: Mapping[str, Any] | None = None


class ScriptedApi:
    """Replaces `CloudApi`: returns or raises the given answers in order."""

    is_low = False
    is_short = False

    def __init__(self, *answers: Mapping[str, Any] | Exception) -> None:
        self.calls: list[Call] = []
        self._answers = list(answers)

    def call(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        query: Iterable[tuple[str, str]] = (),
        body: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Any]:
        deadline.remaining()
        self.calls.append(Call(method, path, tuple(query), body))
        assert self._answers, f"unexpected call: {self.calls[-1]}"
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def then(self, *answers: Mapping[str, Any] | Exception) -> None:
        self._answers.extend(answers)


class FakeCloudApi:
    """Replaces `CloudApi`: stores zones and RRSets, and can fail as Hetzner does.

    `tests/contract/test_fake.py` compares its answers with the sandbox's.
    """

    is_low = False
    is_short = False
    read_only = False

    def __init__(self, *zones: str) -> None:
        self.zones = dict.fromkeys(zones, "primary")  # their modes
        self.rrsets: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.calls: list[str] = []
        # By method, or by method and path: raised before the change, and after it.
        self.failures: dict[str, DyndnsError] = {}
        self.lost_answers: dict[str, DyndnsError] = {}
        self.pages = 1  # the least number of pages of a list; pages beyond the last item are empty
        self._last_action = 604_989_101_982_296  # real ids need more than 32 bits
        self._lock = threading.Lock()
        self._actions: dict[int, dict[str, Any]] = {}

    def publish(
        self, name: str, kind: str, *values: str, ttl: int | None = 21600, comment: str = ""
    ) -> None:
        """Add a record as if the operator had created it at Hetzner."""
        zone = next(zone for zone in self.zones if name == zone or name.endswith(f".{zone}"))
        records = [{"value": value, "comment": comment} for value in values]
        relative = name[: -len(zone) - 1] or "@"
        self.rrsets[zone, relative, kind] = {"ttl": ttl, "records": records}

    def values(self, name: str, kind: str, zone: str = "example.com") -> list[str]:
        rrset = self.rrsets.get((zone, name, kind), {"records": []})
        return [record["value"] for record in rrset["records"]]

    def end_action(self, number: int, status: str = "success") -> None:
        failed = {"code": "action_failed", "message": "Action failed"}
        error = failed if status == "error" else None
        self._actions[number].update(status=status, error=error)

    def take_calls(self) -> list[str]:
        """Return the calls since the last `take_calls()`."""
        calls, self.calls = self.calls, []
        return calls

    def call(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        query: Iterable[tuple[str, str]] = (),
        body: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        deadline.remaining()
        self.calls.append(f"{method} {path}")
        for failing in (method, f"{method} {path}"):
            if failing in self.failures:
                raise self.failures[failing]
        parts = [unquote(part) for part in path.strip("/").split("/")]
        answer = self._answer(method, parts, tuple(query), body or {})
        if method in self.lost_answers:
            raise self.lost_answers[method]
        return answer

    def _answer(
        self,
        method: str,
        parts: list[str],
        query: tuple[tuple[str, str], ...],
        body: Mapping[str, Any],
    ) -> dict[str, Any]:
        if self.read_only and method != "GET":
            raise TokenRejected("token_readonly")
        if parts == ["zones"]:
            return self._page("zones", [self._zone(name) for name in self.zones], query)
        if parts == ["actions"]:
            ids = [int(value) for _, value in query]
            return {"actions": [self._actions[one] for one in ids if one in self._actions]}
        zone = parts[1]
        if zone not in self.zones:
            raise NotFound("no such zone")
        if self.zones[zone] != "primary":
            raise SecondaryZone("incorrect_zone_mode")
        if method == "GET":
            return self._page("rrsets", self._listed(zone, query), query)
        with self._lock:  # A and AAAA are written at the same time
            self._change(method, zone, parts[3:], body)
            self._last_action += 1
            action = {"id": self._last_action, "status": "running", "error": None}
            self._actions[self._last_action] = action
            return {"action": dict(action)}

    def _zone(self, name: str) -> dict[str, Any]:
        servers = {"delegation_status": "valid"}
        return {"name": name, "mode": self.zones[name], "authoritative_nameservers": servers}

    def _listed(self, zone: str, query: tuple[tuple[str, str], ...]) -> list[dict[str, Any]]:
        names = [value for key, value in query if key == "name"]
        kinds = [value for key, value in query if key == "type"]
        return [
            {"name": name, "type": kind, "ttl": rrset["ttl"], "records": _shown(rrset["records"])}
            for (at, name, kind), rrset in sorted(self.rrsets.items())
            if at == zone and name in (names or [name]) and kind in (kinds or [kind])
        ]

    def _page(
        self, key: str, items: list[dict[str, Any]], query: tuple[tuple[str, str], ...]
    ) -> dict[str, Any]:
        most = 100 if key == "rrsets" else 50
        page, size = (
            int(dict(query).get(name, at)) for name, at in (("page", 1), ("per_page", 25))
        )
        size = min(size, most)
        last = max(self.pages, -(-len(items) // size))
        following = page + 1 if page < last else None
        return {
            key: items[(page - 1) * size : page * size],
            "meta": {"pagination": {"next_page": following}},
        }

    def _change(self, method: str, zone: str, parts: list[str], body: Mapping[str, Any]) -> None:
        if not parts:
            key = (zone, body["name"], body["type"])
            if key in self.rrsets:
                raise AlreadyExists("it exists")
            kinds = {kind for at, name, kind in self.rrsets if (at, name) == key[:2]}
            if "CNAME" in kinds or (kinds and body["type"] == "CNAME"):
                raise ChangeRefused("a CNAME excludes other records")
            self.rrsets[key] = {"ttl": body["ttl"], "records": body["records"]}
            return
        key = (zone, parts[0], parts[1])
        if key not in self.rrsets:
            raise NotFound("no such RRSet")
        if method == "DELETE":
            del self.rrsets[key]
        elif parts[3] == "set_records":
            self.rrsets[key]["records"] = body["records"]
        else:
            self.rrsets[key]["ttl"] = body["ttl"]


def _shown(records: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
    return [{"value": one["value"], "comment": one.get("comment", "")} for one in records]


def host(text: str = "host.example.com") -> Hostname:
    return Hostname.parse(text)


def update(
    *addresses: str, name: str = "host.example.com", requester: Requester = ROUTER
) -> Update:
    """An update of a host to these addresses."""
    parsed = [Address.parse(address) for address in addresses]
    return Update(
        host(name), tuple(DesiredRecord(address.type, address) for address in parsed), requester
    )


def removal(*kinds: RecordType, name: str = "host.example.com") -> Update:
    """An update that removes a host's records of these types."""
    return Update(host(name), tuple(DesiredRecord(kind, None) for kind in kinds), ROUTER)
