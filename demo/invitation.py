"""Commands to try, without indentation, so that they can be copied."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import Callable

from demo.keeper import ROOT
from demo.ports import Ports


def invitation(
    host: str, silent: str, key_of: Callable[[str], str], ports: Ports, folder: Path
) -> str:
    """Return commands for programs of this machine, each a paragraph after a line with a colon."""
    backend, key = f"127.0.0.1:{ports.http}", key_of(host)
    client = " ".join(map(shlex.quote, [sys.executable, str(ROOT / "client" / "update_dns.py")]))
    settings, cache = (shlex.quote(str(folder / f"ddclient.{end}")) for end in ("conf", "cache"))
    parts = [
        (
            "",
            f"Let {silent} send an update, so that the host is back:",
            (
                f"PRE_SHARED_KEY='{key_of(silent)}' INTERVAL=0 {client} \\\n"
                f"  http://{backend} {silent} 198.51.100.41"
            ),
        ),
        (
            "dig",
            "Look up an address (for half a second after an update you may still see the old one):",
            f"dig @127.0.0.1 -p {ports.dns} +short {host} A",
        ),
        (
            "curl",
            "Send another address:",
            (
                f"curl -H 'X-Pre-Shared-Key: {key}' -H 'Content-Type: application/json' \\\n"
                f'  -d \'{{"fqdn":"{host}","ip":"198.51.100.20"}}\' http://{backend}/update'
            ),
        ),
        (
            "curl",
            "Send an address as a router does:",
            f"curl 'http://host:{key}@{backend}/nic/update?hostname={host}&myip=198.51.100.22'",
        ),
        (
            "ddclient",
            "Send an address with ddclient:",
            (
                f"(umask 077; cat > {settings}) <<'END'\n"
                f"protocol=dyndns2, server={backend}, ssl=no\n"
                f"login=host, password='{key}'\n"
                "use=cmd, cmd='echo 198.51.100.21'\n"
                f"{host}\n"
                "END\n"
                f"ddclient -daemon=0 -noquiet -force -file {settings} -cache {cache}"
            ),
        ),
        (
            "curl",
            "List the calls to Hetzner:",
            f"curl http://127.0.0.1:{ports.hetzner}/_sandbox/calls",
        ),
    ]
    shown = [f"{title}\n\n{text}" for name, title, text in parts if not name or shutil.which(name)]
    return "\n" + "\n\n".join(shown) + "\n"
