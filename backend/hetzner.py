"""What Hetzner's DNS knows and does: zones, the addresses at a name, and changes to them.

Facts: https://docs.hetzner.cloud/cloud.spec.json
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any, Dict, FrozenSet, Iterable, Iterator, List, Mapping, Optional, Tuple, Union
from urllib.parse import quote

from backend.cloud_answers import id_of, plain, text_of, understood
from backend.cloud_api import CloudApi, Deadline
from backend.cloud_errors import AlreadyExists, NotFound
from backend.errors import CnameInTheWay
from backend.model import Address, RecordType

IP = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

_PAGE = "50"  # the most the API gives of zones
_MAX_PAGES = 200
ACTIONS_A_CALL = 25


@dataclass(frozen=True)
class Zone:
    """A zone of one project."""

    name: str
    mode: str


@dataclass(frozen=True)
class Owner:
    """An owner name: where the records of a host are."""

    zone: Zone
    name: str  # relative to the zone, ``@`` for the apex

    @property
    def rrsets(self) -> str:
        """The path of the zone's RRSets; the API takes the zone's name for its id."""
        return f"/zones/{quote(self.zone.name)}/rrsets"

    def rrset(self, kind: RecordType) -> str:
        """Return the path of one RRSet."""
        return f"{self.rrsets}/{quote(self.name, safe='@*')}/{kind.value}"


@dataclass(frozen=True)
class RRSet:
    """The addresses at one name, of one family."""

    values: Tuple[str, ...]
    comments: Tuple[str, ...]
    ttl: Optional[int]

    @property
    def addresses(self) -> FrozenSet[Union[IP, str]]:
        """The values as addresses: how Hetzner spells an IPv6 address isn't promised."""
        return frozenset(_ip_or_text(value) for value in self.values)

    @property
    def comment(self) -> str:
        """The first comment somebody left on a record."""
        return next((comment for comment in self.comments if comment), "")

    def holds(self, address: Address) -> bool:
        """Whether this address, and no other, is published."""
        return self.addresses == {address.ip}

    def __str__(self) -> str:
        return ", ".join(sorted(self.values))


@dataclass(frozen=True)
class ActionState:
    """How far Hetzner has come with publishing an accepted change."""

    status: str  # running, success, error
    error: str


class Hetzner:
    """The DNS of one project.

    Its methods raise as `CloudApi.call` does. A new RRSet gets `ttl`, in seconds; an existing one
    keeps its own, or is brought to `chosen_ttl` if there is one.
    """

    def __init__(self, api: CloudApi, ttl: int, chosen_ttl: Optional[int] = None) -> None:
        self.api = api
        self._ttl = ttl
        self._chosen_ttl = chosen_ttl

    def zones(self, deadline: Deadline) -> List[Zone]:
        """List every zone the token sees."""
        with understood():
            return [
                Zone(text_of(zone["name"]), text_of(zone["mode"]))
                for page in self._pages("/zones", deadline)
                for zone in page["zones"]
            ]

    def read(self, owner: Owner, deadline: Deadline) -> Dict[RecordType, RRSet]:
        """Read both families at a name in one call.

        Raises:
            NotFound: the zone is gone.
            CnameInTheWay: the name is an alias.

        """
        query = [("name", owner.name), ("type", "A"), ("type", "AAAA"), ("type", "CNAME")]
        with understood():
            found = {
                rrset["type"]: _rrset(rrset)
                for rrset in self.api.call("GET", owner.rrsets, deadline, query)["rrsets"]
                if rrset["name"] == owner.name
            }
        if "CNAME" in found:
            raise CnameInTheWay(
                f"{owner.name} in zone {owner.zone.name} is a CNAME (alias), which excludes "
                "addresses: delete the CNAME record at Hetzner."
            )
        return {kind: found[kind.value] for kind in RecordType if kind.value in found}

    def put(
        self,
        owner: Owner,
        rrset: Optional[RRSet],
        address: Address,
        deadline: Deadline,
        *,
        rewrite: bool = False,
    ) -> List[int]:
        """Make an address the only one of its family at a name.

        `rrset` is what `read` found. Returns the ids of the actions that publish the change; none
        when nothing had to be done. `rewrite` writes all the same: Hetzner's API shows an address
        from the moment it is accepted, even if publishing it failed.
        """
        if rrset is None:
            return [self._create(owner, address, deadline)]
        actions = []
        if rewrite or not rrset.holds(address):
            actions.append(self._set_or_create(owner, rrset, address, deadline))
        if self._chosen_ttl not in (None, rrset.ttl):
            path = f"{owner.rrset(address.type)}/actions/change_ttl"
            actions.append(self._act("POST", path, deadline, {"ttl": self._chosen_ttl}))
        return actions

    def delete(self, owner: Owner, kind: RecordType, deadline: Deadline) -> List[int]:
        """Delete one family at a name; no action when it is gone already."""
        try:
            return [self._act("DELETE", owner.rrset(kind), deadline)]
        except NotFound:
            return []

    def actions(self, ids: Iterable[int], deadline: Deadline) -> Dict[int, ActionState]:
        """Ask how far up to `ACTIONS_A_CALL` actions have come; unknown ones are left out."""
        query = [("id", str(number)) for number in ids]
        with understood():
            answer = self.api.call("GET", "/actions", deadline, query)
            return {id_of(action): _action_state(action) for action in answer["actions"]}

    def _create(self, owner: Owner, address: Address, deadline: Deadline) -> int:
        body = {
            "name": owner.name,
            "type": address.type.value,
            "ttl": self._ttl,
            "records": [{"value": str(address)}],
        }
        try:
            return self._act("POST", owner.rrsets, deadline, body)
        except AlreadyExists:  # somebody was quicker
            return self._set(owner, address, "", deadline)

    def _set_or_create(
        self, owner: Owner, rrset: RRSet, address: Address, deadline: Deadline
    ) -> int:
        try:
            return self._set(owner, address, rrset.comment, deadline)
        except NotFound:  # somebody deleted it
            return self._create(owner, address, deadline)

    def _set(self, owner: Owner, address: Address, comment: str, deadline: Deadline) -> int:
        record = {"value": str(address)}
        if comment:  # set_records overwrites comments, too
            record["comment"] = comment
        path = f"{owner.rrset(address.type)}/actions/set_records"
        return self._act("POST", path, deadline, {"records": [record]})

    def _act(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        body: Optional[Mapping[str, Any]] = None,
    ) -> int:
        answer = self.api.call(method, path, deadline, body=body)
        with understood():
            return id_of(answer["action"])

    def _pages(self, path: str, deadline: Deadline) -> Iterator[Dict[str, Any]]:
        page: Optional[int] = 1
        for _ in range(_MAX_PAGES):
            query = [("page", str(page)), ("per_page", _PAGE)]
            answer = self.api.call("GET", path, deadline, query)
            yield answer
            page = answer["meta"]["pagination"]["next_page"]
            if page is None:
                return


def _rrset(found: Mapping[str, Any]) -> RRSet:
    records = found["records"]
    return RRSet(
        values=tuple(text_of(record["value"]) for record in records),
        comments=tuple(text_of(record.get("comment") or "") for record in records),
        ttl=found["ttl"],
    )


def _action_state(action: Mapping[str, Any]) -> ActionState:
    error = action.get("error") or {}
    told = text_of(error.get("message") or error.get("code") or "")
    return ActionState(text_of(action["status"]), plain(told))


def _ip_or_text(value: str) -> Union[IP, str]:
    try:
        return ipaddress.ip_address(value)
    except ValueError:
        return value
