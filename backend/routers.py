"""What to paste into which device."""

from __future__ import annotations

from typing import List, Tuple

from backend.model import Hostname


def snippets(host: Hostname, key: str, url: str) -> List[Tuple[str, str, str]]:
    """Return for each device its id, its name, and what to paste. `url` is this service's base."""
    base = url.rstrip("/")
    scheme, _, place = base.partition("://")
    fritzbox = f"{scheme}://{host.first_label}:{key}@{place}/nic/update?hostname={host}"
    curl = (
        f"curl -sf -X POST -H 'Content-Type: application/json' -H 'X-Pre-Shared-Key: {key}' "
        f'-d \'{{"fqdn":"{host}"}}\' {base}/update'
    )
    client = f"PRE_SHARED_KEY='{key}' python update_dns.py {base} {host}"
    return [
        ("fritzbox", "Fritz!Box", fritzbox),
        ("curl", "curl", curl),
        ("client", "the client of hetzner-dyndns", client),
    ]
