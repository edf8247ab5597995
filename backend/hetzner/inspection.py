"""What only the operator asks of Hetzner: delegations, aliases, and whether a token may write.

Facts: https://docs.hetzner.cloud/cloud.spec.json
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, FrozenSet, List, Mapping, Optional
from urllib.parse import quote

from backend.errors import ChangeRefused, TokenRejected
from backend.hetzner.answers import text_of, understood
from backend.hetzner.api import CloudApi, Deadline
from backend.hetzner.pages import pages
from backend.hetzner.refusals import NotFound

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
