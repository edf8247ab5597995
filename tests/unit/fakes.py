"""What unit tests pass in where production has time, Hetzner and the operator."""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple, Type, Union
from urllib.parse import unquote

from backend.errors import DyndnsError
from backend.events import Event
from backend.hetzner.responses import AlreadyExists, NotFound
from backend.model import Address, Deadline, DesiredRecord, Hostname, RecordType, Requester, Update

ROUTER = Requester("198.51.100.1", "dyndns2")


class Clock:
    """Time that passes when a test says so."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class RecordingSink:
    """Hears what the operator would be told."""

    def __init__(self) -> None:
        self.events: List[Event] = []

    def report(self, event: Event) -> None:
        self.events.append(event)

    def heard(self, *kinds: Type[Any]) -> List[Event]:
        return [event for event in self.events if isinstance(event, kinds)]


class Call(NamedTuple):
    """One call to Hetzner's API."""

    method: str
    path: str
    query: Tuple[Tuple[str, str], ...] = ()
    body: Optional[Mapping[str, Any]] = None


class ScriptedApi:
    """Stands in for `CloudApi`: gives one prepared answer after the other."""

    is_low = False
    is_short = False

    def __init__(self, *answers: Union[Mapping[str, Any], Exception]) -> None:
        self.calls: List[Call] = []
        self._answers = list(answers)

    def call(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        query: Iterable[Tuple[str, str]] = (),
        body: Optional[Mapping[str, Any]] = None,
    ) -> Mapping[str, Any]:
        deadline.remaining()
        self.calls.append(Call(method, path, tuple(query), body))
        assert self._answers, f"nobody expects {self.calls[-1]}"
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def then(self, *answers: Union[Mapping[str, Any], Exception]) -> None:
        self._answers.extend(answers)


class FakeCloudApi:
    """Stands in for `CloudApi`: keeps zones and RRSets, and can fail as Hetzner does."""

    is_low = False
    is_short = False

    def __init__(self, *zones: str) -> None:
        self.zones = dict.fromkeys(zones, "primary")  # their modes
        self.rrsets: Dict[Tuple[str, str, str], Dict[str, Any]] = {}
        self.calls: List[str] = []
        # By method, or by method and path: instead of doing anything, and after it was done.
        self.failures: Dict[str, DyndnsError] = {}
        self.lost_answers: Dict[str, DyndnsError] = {}
        self.pages = 1  # of every list of a whole zone
        self._last_action = 604_989_101_982_296  # real ids need more than 32 bits

    def publish(
        self, name: str, kind: str, *values: str, ttl: Optional[int] = 21600, comment: str = ""
    ) -> None:
        """Let a record be there already, as if the operator had made it."""
        zone = next(zone for zone in self.zones if name == zone or name.endswith(f".{zone}"))
        records = [{"value": value, "comment": comment} for value in values]
        relative = name[: -len(zone) - 1] or "@"
        self.rrsets[zone, relative, kind] = {"ttl": ttl, "records": records}

    def values(self, name: str, kind: str, zone: str = "example.com") -> List[str]:
        rrset = self.rrsets.get((zone, name, kind), {"records": []})
        return [record["value"] for record in rrset["records"]]

    def take_calls(self) -> List[str]:
        """Return the calls since this was asked last."""
        calls, self.calls = self.calls, []
        return calls

    def call(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        query: Iterable[Tuple[str, str]] = (),
        body: Optional[Mapping[str, Any]] = None,
    ) -> Dict[str, Any]:
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
        parts: List[str],
        query: Tuple[Tuple[str, str], ...],
        body: Mapping[str, Any],
    ) -> Dict[str, Any]:
        if parts == ["zones"]:
            zones = [{"name": name, "mode": mode} for name, mode in self.zones.items()]
            return {"zones": zones, "meta": {"pagination": {"next_page": None}}}
        zone = parts[1]
        if zone not in self.zones:
            raise NotFound("no such zone")
        if method == "GET":
            return {"rrsets": self._listed(zone, query), **self._meta(query)}
        self._change(method, zone, parts[3:], body)
        self._last_action += 1
        return {"action": {"id": self._last_action, "status": "running", "error": None}}

    def _listed(self, zone: str, query: Tuple[Tuple[str, str], ...]) -> List[Dict[str, Any]]:
        return [
            {"name": name, "type": kind, **rrset}
            for (at, name, kind), rrset in self.rrsets.items()
            if at == zone and ("type", kind) in query
            if ("name", name) in query or "name" not in dict(query)
        ]

    def _meta(self, query: Tuple[Tuple[str, str], ...]) -> Dict[str, Any]:
        page = int(dict(query).get("page", "1"))
        return {"meta": {"pagination": {"next_page": page + 1 if page < self.pages else None}}}

    def _change(self, method: str, zone: str, parts: List[str], body: Mapping[str, Any]) -> None:
        if not parts:
            key = (zone, body["name"], body["type"])
            if key in self.rrsets:
                raise AlreadyExists("it exists")
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
