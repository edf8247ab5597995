"""What only the operator asks of Hetzner: delegations, aliases, and whether a token may write.

Facts: https://docs.hetzner.cloud/cloud.spec.json
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, FrozenSet, Iterator, List, Mapping, Optional, Sequence, Tuple
from urllib.parse import quote

from backend.errors import ChangeRefused, HetznerUnreachable, TokenRejected
from backend.hetzner.api import CloudApi, Deadline
from backend.hetzner.refusals import NotFound

_PAGE = "50"
_MAX_PAGES = 200
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
    try:
        return [
            ZoneSight(str(zone["name"]), str(zone["mode"]), _delegation(zone))
            for page in _pages(api, "/zones", deadline)
            for zone in page["zones"]
        ]
    except (KeyError, TypeError, AttributeError):
        raise _strange() from None


def aliases(api: CloudApi, zone: str, deadline: Deadline) -> FrozenSet[str]:
    """List the names in a zone that are a CNAME: relative to it, and ``@`` for the apex."""
    path = f"/zones/{quote(zone)}/rrsets"
    try:
        return frozenset(
            str(rrset["name"])
            for page in _pages(api, path, deadline, [("type", "CNAME")])
            for rrset in page["rrsets"]
        )
    except (KeyError, TypeError, AttributeError):
        raise _strange() from None


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


def _pages(
    api: CloudApi, path: str, deadline: Deadline, chosen: Sequence[Tuple[str, str]] = ()
) -> Iterator[Dict[str, Any]]:
    page: Optional[int] = 1
    for _ in range(_MAX_PAGES):
        query = [*chosen, ("page", str(page)), ("per_page", _PAGE)]
        answer = api.call("GET", path, deadline, query)
        yield answer
        page = answer["meta"]["pagination"]["next_page"]
        if page is None:
            return


def _delegation(zone: Mapping[str, Any]) -> str:
    servers = zone.get("authoritative_nameservers") or {}
    return str(servers.get("delegation_status") or "")


def _strange() -> HetznerUnreachable:
    return HetznerUnreachable(
        "Hetzner's API answers JSON of a shape this version doesn't know",
        mend="check HETZNER_API_URL, or look for an update of hetzner-dyndns.",
    )
