"""Commands to try, without indentation, so that they can be copied."""

from __future__ import annotations

import shlex
from pathlib import Path

from demo.ports import Ports


def invitation(host: str, key: str, ports: Ports, folder: Path) -> str:
    """Return the commands for a host, each a paragraph after a line that ends with a colon."""
    backend = f"127.0.0.1:{ports.http}"
    settings, cache = (shlex.quote(str(folder / f"ddclient.{end}")) for end in ("conf", "cache"))
    return f"""
Look up the address (for half a second after an update you may still see the old one):

dig @127.0.0.1 -p {ports.dns} +short {host} A

Send another address:

curl -H 'X-Pre-Shared-Key: {key}' -H 'Content-Type: application/json' \\
  -d '{{"fqdn":"{host}","ip":"198.51.100.20"}}' http://{backend}/update

Send one like a router:

curl 'http://host:{key}@{backend}/nic/update?hostname={host}&myip=198.51.100.22'

Send one with ddclient:

(umask 077; cat > {settings}) <<'END'
protocol=dyndns2, server={backend}, ssl=no
login=host, password='{key}'
use=cmd, cmd='echo 198.51.100.21'
{host}
END
ddclient -daemon=0 -noquiet -force -file {settings} -cache {cache}

List the calls to Hetzner:

curl http://127.0.0.1:{ports.hetzner}/_sandbox/calls
"""
