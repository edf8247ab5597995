"""Zones, the addresses at a name, and changes to them at Hetzner.

API: https://docs.hetzner.cloud/cloud.spec.json
"""

from __future__ import annotations

import functools
import ipaddress
from dataclasses import dataclass, field
from typing import Any, Iterable, Iterator, Mapping, NamedTuple, Sequence
from urllib.parse import quote

from backend.errors import (
    ChangeRefused,
    CnameInTheWay,
    HetznerUnreachable,
    TokenRejected,
)
from backend.hetzner.client import CloudApi, NotFound, id_of, plain, text_of, understood
from backend.model import IP, Address, Change, Deadline, DesiredRecord, RecordType

ACTIONS_A_CALL = 25
CHALLENGE_COMMENT = "certificate challenge, set by hetzner-dyndns"
_CHALLENGE_TTL = 60  # seconds, the API's minimum
_MAX_PAGES = 200
_ZONES_A_PAGE = "50"  # the API's maximum
_RRSETS_A_PAGE = "100"
PRIMARY = "primary"  # the mode of zones that can be changed at Hetzner
# This zone can't exist: .invalid is reserved (https://www.rfc-editor.org/rfc/rfc2606).
_IMPOSSIBLE = "/zones/hetzner-dyndns-check.invalid/rrsets/none/A"


@dataclass(frozen=True)
class Zone:
    """A zone of one project."""

    name: str
    mode: str
    project: Hetzner = field(compare=False, repr=False)
    # As Hetzner names them; empty if unknown.
    delegation: str = field(default="", compare=False)
    status: str = field(default="", compare=False)

    @property
    def has_failed(self) -> bool:
        """Whether Hetzner can't publish the zone."""
        return self.status == "error"

    @functools.cached_property
    def path(self) -> str:
        """The path of the zone's RRSets; the API accepts the name of a zone as its id."""
        return f"/zones/{quote(self.name)}/rrsets"


@dataclass(frozen=True)
class Location:
    """Where a host's records are."""

    zone: Zone
    name: str  # relative to the zone, ``@`` for the apex


@dataclass(frozen=True)
class RRSet:
    """The records of one type at one name, each with its comment.

    A value that isn't an address stays a text. TXT values keep their quotes.
    """

    comments: Mapping[IP | str, str]
    ttl: int | None

    def holds(self, address: Address) -> bool:
        """Return whether the RRSet holds this address alone."""
        return list(self.comments) == [address.ip]

    def comment_of(self, *addresses: Address | None) -> str:
        """Return the comment of the first of these addresses in the RRSet, or any other comment."""
        for address in addresses:
            if address is not None and address.ip in self.comments:
                return self.comments[address.ip]
        # The order of the records isn't guaranteed.
        return max(self.comments.values(), default="")

    def __str__(self) -> str:
        return plain(", ".join(sorted(map(str, self.comments))))


class Written(NamedTuple):
    """The result of a write: the change, the ids of its actions, and the record's comment."""

    change: Change
    actions: Sequence[int]
    comment: str = ""


@dataclass(frozen=True)
class ActionState:
    """The progress of publishing an accepted change."""

    status: str  # running, success, error
    error: str


def read_rrset(found: Mapping[str, Any]) -> RRSet:
    """Make an RRSet from the API's JSON; raise `KeyError` or `TypeError` if it isn't one."""
    comments = {
        _value(text_of(record["value"])): text_of(record.get("comment") or "")
        for record in found["records"]
    }
    return RRSet(comments, found["ttl"])


def _value(text: str) -> IP | str:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return text


class Hetzner:
    """The DNS of one project.

    Its methods raise the errors of `CloudApi.call`. A new RRSet gets the TTL of its host, or `ttl`,
    in seconds. An existing one gets the TTL of its host, or `chosen_ttl`; it keeps its own if
    neither is set.
    """

    def __init__(self, api: CloudApi, ttl: int, chosen_ttl: int | None = None) -> None:
        self.api = api
        self._ttl = ttl
        self.chosen_ttl = chosen_ttl

    def zones(self, deadline: Deadline) -> list[Zone]:
        """List all zones of the project."""
        try:
            pages = list(self._pages("/zones", _ZONES_A_PAGE, deadline))
        except NotFound:
            raise HetznerUnreachable(
                "HETZNER_API_URL answers, but has no list of zones",
                hint="end the URL with the version of the API, as in https://api.hetzner.cloud/v1.",
            ) from None
        with understood():
            return [self._read_zone(zone) for page in pages for zone in page["zones"]]

    def read(self, location: Location, deadline: Deadline) -> dict[RecordType, RRSet]:
        """Read both families at a name in one call.

        Raises:
            NotFound: the zone doesn't exist any more.
            CnameInTheWay: the name has a CNAME record.

        """
        found = self._read(location, ("A", "AAAA"), deadline)
        return {kind: found[kind.value] for kind in RecordType if kind.value in found}

    def read_texts(self, location: Location, deadline: Deadline) -> RRSet:
        """Read the TXT records at a name; raise the errors of `read`."""
        return self._read(location, ("TXT",), deadline).get("TXT", RRSet({}, None))

    def add_text(self, location: Location, text: str, found: RRSet, deadline: Deadline) -> int:
        """Add a TXT record to those that `read_texts` has found; return the id of the action.

        Raises:
            NotFound: the zone doesn't exist any more.

        """
        body: dict[str, Any] = {"records": [{"value": text, "comment": CHALLENGE_COMMENT}]}
        if not found.comments:  # the RRSet is created, else it keeps its TTL
            body["ttl"] = _CHALLENGE_TTL
        path = f"{_rrset_path(location, 'TXT')}/actions/add_records"
        return id_of(self.api.call("POST", path, deadline, body=body).get("action"))

    def remove_texts(self, location: Location, texts: Iterable[str], deadline: Deadline) -> None:
        """Remove existing TXT records. Hetzner deletes an RRSet with its last record.

        Raises:
            NotFound: the RRSet or the zone doesn't exist any more.

        """
        body = {"records": [{"value": text} for text in texts]}
        path = f"{_rrset_path(location, 'TXT')}/actions/remove_records"
        id_of(self.api.call("POST", path, deadline, body=body).get("action"))

    def read_zone(
        self,
        zone: Zone,
        deadline: Deadline,
        kinds: Sequence[str] = ("A", "AAAA"),
        name: str | None = None,
    ) -> tuple[int, dict[tuple[str, str], RRSet]]:
        """Return the number of calls, and the RRSets of a zone, or of one name in it.

        The keys are pairs of name and type.

        Raises:
            NotFound: the zone doesn't exist any more.

        """
        query = [*([("name", name)] if name else []), *(("type", kind) for kind in kinds)]
        pages = list(self._pages(zone.path, _RRSETS_A_PAGE, deadline, query))
        with understood():
            return len(pages), {
                (text_of(rrset["name"]), text_of(rrset["type"])): read_rrset(rrset)
                for page in pages
                for rrset in page["rrsets"]
            }

    def may_write(self, deadline: Deadline) -> bool | None:
        """Return whether the token may write; `None` if Hetzner's answer doesn't show it.

        The call deletes a record that can't exist, so it changes nothing.
        """
        try:
            self.api.call("DELETE", _IMPOSSIBLE, deadline)
        except NotFound:
            return True
        except TokenRejected:
            return False
        except ChangeRefused:
            pass
        return None

    def is_right(
        self, rrset: RRSet | None, address: Address | None, ttl: int | None = None
    ) -> bool:
        """Return whether an RRSet holds this address alone, with the TTL that it should have.

        `ttl` is that of the host, if it has one of its own.
        """
        if rrset is None or address is None:
            return rrset is None and address is None
        return rrset.holds(address) and (ttl or self.chosen_ttl) in (None, rrset.ttl)

    def put(  # noqa: PLR0913
        self,
        location: Location,
        desired: DesiredRecord,
        rrset: RRSet | None,
        deadline: Deadline,
        *,
        replaced: Address | None = None,
        rewrite: bool = False,
        ttl: int | None = None,
    ) -> Written:
        """Make an address the only one of its family at a name, or delete the family.

        `rrset` is what `read` returned, `ttl` the host's own. The comment of the same address is
        kept, or that of the `replaced` address. With `rewrite`, an unchanged address is written,
        too: the API shows an accepted address even if publishing it has failed.

        Raises:
            AlreadyExists, NotFound: another client has changed the RRSet since it was read.

        """
        address = desired.address
        path = _rrset_path(location, desired.type.value)
        if address is None:
            return self._delete(path, rrset, deadline)
        record = {"value": str(address.ip)}
        body: dict[str, Any]
        if rrset is None:
            body = {"name": location.name, "type": desired.type.value, "ttl": ttl or self._ttl}
            body["records"] = [record]
            answer = self.api.call("POST", location.zone.path, deadline, body=body)
            return Written(Change.CREATED, [id_of(answer.get("action"))])
        change = Change.UNCHANGED if rrset.holds(address) else Change.REPLACED
        actions: list[int] = []
        comment = rrset.comment_of(address, replaced)
        if rewrite or change is not Change.UNCHANGED:
            if comment:  # set_records overwrites comments, too
                record["comment"] = comment
            body = {"records": [record]}
            answer = self.api.call("POST", f"{path}/actions/set_records", deadline, body=body)
            actions.append(id_of(answer.get("action")))
        chosen = ttl or self.chosen_ttl
        if chosen not in (None, rrset.ttl):
            body = {"ttl": chosen}
            answer = self.api.call("POST", f"{path}/actions/change_ttl", deadline, body=body)
            actions.append(id_of(answer.get("action")))
        return Written(change, actions, comment)

    def actions(self, ids: Iterable[int], deadline: Deadline) -> dict[int, ActionState]:
        """Return the states of up to `ACTIONS_A_CALL` actions, without those that are unknown."""
        query = [("id", str(number)) for number in ids]
        answer = self.api.call("GET", "/actions", deadline, query)
        with understood():
            found = {}
            for action in answer["actions"]:
                error = action.get("error") or {}
                reason = text_of(error.get("message") or error.get("code") or "")
                found[id_of(action)] = ActionState(text_of(action["status"]), plain(reason))
            return found

    def _read(
        self, location: Location, kinds: Sequence[str], deadline: Deadline
    ) -> dict[str, RRSet]:
        query = [("name", location.name), *(("type", kind) for kind in (*kinds, "CNAME"))]
        answer = self.api.call("GET", location.zone.path, deadline, query)
        with understood():
            found = {
                rrset["type"]: read_rrset(rrset)
                for rrset in answer["rrsets"]
                if rrset["name"] == location.name
            }
        if "CNAME" in found:
            what = "a challenge" if "TXT" in kinds else "addresses"
            raise CnameInTheWay(
                f"{location.name} in {location.zone.name} is a CNAME, so it can't have {what}",
                hint="delete the CNAME record at Hetzner.",
            )
        return found

    def _pages(
        self, path: str, size: str, deadline: Deadline, selection: Sequence[tuple[str, str]] = ()
    ) -> Iterator[dict[str, Any]]:
        for page in range(1, _MAX_PAGES + 1):
            query = [*selection, ("page", str(page)), ("per_page", size)]
            answer = self.api.call("GET", path, deadline, query)
            yield answer
            with understood():
                following = answer["meta"]["pagination"]["next_page"]
                if following is None:
                    return
                if following != page + 1:
                    raise ValueError(following)

    def _read_zone(self, zone: Mapping[str, Any]) -> Zone:
        servers = zone.get("authoritative_nameservers")
        # Updates don't need the delegation, so an unknown shape of it is no error.
        delegation = servers.get("delegation_status") if isinstance(servers, dict) else None
        words = (zone["name"], zone["mode"], delegation or "", zone.get("status") or "")
        name, mode, delegation, status = (plain(text_of(word)) for word in words)
        return Zone(name, mode, self, delegation, status)

    def _delete(self, path: str, rrset: RRSet | None, deadline: Deadline) -> Written:
        if rrset is not None:
            try:
                answer = self.api.call("DELETE", path, deadline)
            except NotFound:
                pass
            else:
                return Written(Change.DELETED, [id_of(answer.get("action"))])
        return Written(Change.UNCHANGED, [])


def _rrset_path(location: Location, kind: str) -> str:
    return f"{location.zone.path}/{quote(location.name, safe='@*')}/{kind}"
