"""What Hetzner's DNS knows and does: zones, the addresses at a name, and changes to them.

Facts: https://docs.hetzner.cloud/cloud.spec.json
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import (
    Any,
    Dict,
    FrozenSet,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Union,
)
from urllib.parse import quote

from backend.errors import (
    ChangeRefused,
    CnameInTheWay,
    HetznerBusy,
    HetznerUnreachable,
    TokenRejected,
)
from backend.hetzner.client import CloudApi
from backend.hetzner.responses import AlreadyExists, NotFound, id_of, plain, text_of, understood
from backend.model import Address, Change, Deadline, DesiredRecord, RecordType

_MAX_PAGES = 200


def pages(
    api: CloudApi,
    path: str,
    size: str,
    deadline: Deadline,
    selection: Sequence[Tuple[str, str]] = (),
) -> Iterator[Dict[str, Any]]:
    """Ask for one page after the other; raise as `CloudApi.call` does."""
    page: Optional[int] = 1
    for _ in range(_MAX_PAGES):
        query = [*selection, ("page", str(page)), ("per_page", size)]
        answer = api.call("GET", path, deadline, query)
        yield answer
        with understood():
            page = answer["meta"]["pagination"]["next_page"]
        if page is None:
            return


IP = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


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
    def path(self) -> str:
        """The path of the zone's RRSets; the API takes the name of a zone for its id."""
        return f"/zones/{quote(self.zone.name)}/rrsets"


@dataclass(frozen=True)
class RRSet:
    """The addresses at one name, of one family."""

    values: Tuple[str, ...]
    comment: str  # of the first record that has one
    ttl: Optional[int]

    def holds(self, address: Address) -> bool:
        """Whether the RRSet holds this address and no other.

        Hetzner doesn't promise how it spells an IPv6 address.
        """
        try:
            return {ipaddress.ip_address(value) for value in self.values} == {address.ip}
        except ValueError:  # not an address at all
            return False

    def __str__(self) -> str:
        return ", ".join(sorted(self.values))


class Written(NamedTuple):
    """What a write did, and the ids of the actions that publish it; none without a change."""

    change: Change
    actions: Sequence[int]


def read_rrset(found: Mapping[str, Any]) -> RRSet:
    """Make an RRSet from the API's JSON; raise `KeyError` or `TypeError` if it isn't one."""
    records = found["records"]
    comments = (text_of(record.get("comment") or "") for record in records)
    return RRSet(
        values=tuple(text_of(record["value"]) for record in records),
        comment=next(filter(None, comments), ""),
        ttl=found["ttl"],
    )


_ZONES_A_PAGE = "50"  # the most the API gives
_RRSETS_A_PAGE = "100"
ACTIONS_A_CALL = 25


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
        self.chosen_ttl = chosen_ttl

    def zones(self, deadline: Deadline) -> List[Zone]:
        """List every zone the token sees."""
        try:
            found = list(pages(self.api, "/zones", _ZONES_A_PAGE, deadline))
        except NotFound:  # an API without a list of zones
            raise HetznerUnreachable(
                "HETZNER_API_URL answers, but knows no zones",
                hint="let it end with the version of the API, as in https://api.hetzner.cloud/v1.",
            ) from None
        with understood():
            return [
                Zone(text_of(zone["name"]), text_of(zone["mode"]))
                for page in found
                for zone in page["zones"]
            ]

    def read(self, owner: Owner, deadline: Deadline) -> Dict[RecordType, RRSet]:
        """Read both families at a name in one call.

        Raises:
            NotFound: the zone is gone.
            CnameInTheWay: the name is an alias.

        """
        query = [("name", owner.name), ("type", "A"), ("type", "AAAA"), ("type", "CNAME")]
        answer = self.api.call("GET", owner.path, deadline, query)
        with understood():
            found = {
                rrset["type"]: read_rrset(rrset)
                for rrset in answer["rrsets"]
                if rrset["name"] == owner.name
            }
        if "CNAME" in found:
            raise CnameInTheWay(
                f"{owner.name} in zone {owner.zone.name} is a CNAME, which excludes addresses",
                hint="delete the CNAME record at Hetzner.",
            )
        return {kind: found[kind.value] for kind in RecordType if kind.value in found}

    def read_zone(
        self, zone: Zone, deadline: Deadline
    ) -> Tuple[int, Dict[Tuple[str, RecordType], RRSet]]:
        """Read every address of a zone, by name and family, and count the calls it took.

        Raises:
            NotFound: the zone is gone.

        """
        path = Owner(zone, "@").path
        query = [("type", "A"), ("type", "AAAA")]
        found = list(pages(self.api, path, _RRSETS_A_PAGE, deadline, query))
        with understood():
            return len(found), {
                (str(rrset["name"]), RecordType(rrset["type"])): read_rrset(rrset)
                for page in found
                for rrset in page["rrsets"]
            }

    def is_right(self, rrset: Optional[RRSet], address: Address) -> bool:
        """Whether an RRSet holds this address alone, for as long as it shall be cached."""
        return rrset is not None and rrset.holds(address) and self.chosen_ttl in (None, rrset.ttl)

    def put(
        self,
        owner: Owner,
        desired: DesiredRecord,
        rrset: Optional[RRSet],
        deadline: Deadline,
        *,
        rewrite: bool = False,
    ) -> Written:
        """Make an address the only one of its family at a name, or delete the family.

        `rrset` is what `read` found. `rewrite` writes an unchanged address, too: Hetzner's API
        shows an address from the moment it is accepted, even if publishing it failed.
        """
        address = desired.address
        path = f"{owner.path}/{quote(owner.name, safe='@*')}/{desired.type.value}"
        if address is None:
            return self._delete(path, rrset, deadline)
        if rrset is None:
            change = Change.CREATED
            try:
                return self._create(owner, address, deadline, change)
            except AlreadyExists:  # another client was faster; its comment is kept
                rrset, rewrite = self._read_again(owner, desired.type, deadline), True
        else:
            change = Change.UNCHANGED if rrset.holds(address) else Change.REPLACED
        actions: List[int] = []
        if rewrite or change is not Change.UNCHANGED:
            record = {"value": str(address.ip)}
            if rrset.comment:  # set_records overwrites comments, too
                record["comment"] = rrset.comment
            set_records = f"{path}/actions/set_records"
            try:
                actions.append(self._act("POST", set_records, deadline, {"records": [record]}))
            except NotFound:  # deleted meanwhile; a new one has the right TTL from the start
                return self._create(owner, address, deadline, change)
        if self.chosen_ttl not in (None, rrset.ttl):
            change_ttl = f"{path}/actions/change_ttl"
            actions.append(self._act("POST", change_ttl, deadline, {"ttl": self.chosen_ttl}))
        return Written(change, actions)

    def actions(self, ids: Iterable[int], deadline: Deadline) -> Dict[int, ActionState]:
        """Ask how far up to `ACTIONS_A_CALL` actions have come; unknown ones are left out."""
        query = [("id", str(number)) for number in ids]
        answer = self.api.call("GET", "/actions", deadline, query)
        with understood():
            return {id_of(action): _action_state(action) for action in answer["actions"]}

    def _create(
        self, owner: Owner, address: Address, deadline: Deadline, change: Change
    ) -> Written:
        body = {
            "name": owner.name,
            "type": address.type.value,
            "ttl": self._ttl,
            "records": [{"value": str(address.ip)}],
        }
        return Written(change, [self._act("POST", owner.path, deadline, body)])

    def _delete(self, path: str, rrset: Optional[RRSet], deadline: Deadline) -> Written:
        if rrset is not None:
            try:
                return Written(Change.DELETED, [self._act("DELETE", path, deadline)])
            except NotFound:
                pass
        return Written(Change.UNCHANGED, [])

    def _read_again(self, owner: Owner, kind: RecordType, deadline: Deadline) -> RRSet:
        rrset = self.read(owner, deadline).get(kind)
        if rrset is None:
            raise HetznerBusy(f"Somebody else is changing {owner.name} in {owner.zone.name}.")
        return rrset

    def _act(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        body: Optional[Mapping[str, Any]] = None,
    ) -> int:
        return id_of(self.api.call(method, path, deadline, body=body).get("action"))


def _action_state(action: Mapping[str, Any]) -> ActionState:
    error = action.get("error") or {}
    told = text_of(error.get("message") or error.get("code") or "")
    return ActionState(text_of(action["status"]), plain(told))


_PAGE = "50"
# No zone can have this name, for it is no public suffix: https://www.rfc-editor.org/rfc/rfc2606
_NOWHERE = "/zones/hetzner-dyndns-check.invalid/rrsets/none/A"


@dataclass(frozen=True)
class ZoneSight:
    """A zone, and whether the world is sent to Hetzner for it."""

    name: str
    mode: str
    delegation: str  # Hetzner's word; empty when it says none


def zones(api: CloudApi, deadline: Deadline) -> List[ZoneSight]:
    """List every zone of a project; raise as `CloudApi.call` does."""
    with understood():
        return [
            ZoneSight(text_of(zone["name"]), text_of(zone["mode"]), _delegation(zone))
            for page in pages(api, "/zones", _PAGE, deadline)
            for zone in page["zones"]
        ]


def aliases(api: CloudApi, zone: str, deadline: Deadline) -> FrozenSet[str]:
    """List the names in a zone that are a CNAME: relative to it, and ``@`` for the apex."""
    path = f"/zones/{quote(zone)}/rrsets"
    with understood():
        return frozenset(
            text_of(rrset["name"])
            for page in pages(api, path, _PAGE, deadline, [("type", "CNAME")])
            for rrset in page["rrsets"]
        )


def may_write(api: CloudApi, deadline: Deadline) -> Optional[bool]:
    """Return whether a token may write; `None` when that can't be told.

    It is asked to delete a record that can't exist, in a zone that can't. Raises when Hetzner is
    away.
    """
    try:
        api.call("DELETE", _NOWHERE, deadline)
    except NotFound:
        return True
    except TokenRejected:
        return False
    except ChangeRefused:
        return None
    return None


def _delegation(zone: Mapping[str, Any]) -> str:
    servers = zone.get("authoritative_nameservers") or {}
    return text_of(servers.get("delegation_status") or "")
