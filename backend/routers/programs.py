"""The configuration of programs: what to put into which file, or what to type."""

from __future__ import annotations

from typing import Mapping, Tuple

# By id: the program's name, and the template.
TEMPLATES: Mapping[str, Tuple[str, str]] = {
    "ddclient": (
        "ddclient",
        """
# /etc/ddclient.conf (mode 600)
daemon=300
max-interval=3600
ssl=$yes
protocol=dyndns2
server=$server
script=$path/nic/update
login=$host
password='$key'
use=web, web=$url/ip
$host

# Both families, from ddclient 3.11 on, instead of the line with `use=`:
#   usev4=webv4, webv4=$url/ip
#   usev6=webv6, webv6=$url/ip
""",
    ),
    "inadyn": (
        "inadyn",
        """
# /etc/inadyn.conf (mode 600)
period = 300
forced-update = 3600
custom hetzner-dyndns {
    username       = $host
    password       = "$key"
    hostname       = $host
    ddns-server    = $server
    ddns-path      = "$path/nic/update?hostname=%h&myip=%i"
    ssl            = $true
    checkip-server = $server
    checkip-path   = $path/ip
    checkip-ssl    = $true
}

# IPv6: `allow-ipv6 = true` beside `period`, and `checkip-command = "…"` that prints the address.
""",
    ),
    "curl": (
        "curl, as in a script",
        """
curl -fsS -u '$host:$key' '$url/nic/update?hostname=$host'

The address it comes from is set. For both families, twice: with -4 and with -6.
""",
    ),
    "cron": (
        "A cron job",
        """
*/5 * * * * curl -sf -o /dev/null -X POST -H 'Content-Type: application/json' -H 'X-Pre-Shared-Key: $key' -d '{"fqdn":"$host"}' $url/update

The address it comes from is set. For both families, two lines: with -4 and with -6 behind curl.
""",
    ),
    "powershell": (
        "Windows, a scheduled task",
        r"""
schtasks /Create /SC MINUTE /MO 1 /TN DynDNSUpdate ^
/TR "powershell -Command \"Invoke-WebRequest -UseBasicParsing -Uri '$url/update' -Method Post -Headers @{ 'X-Pre-Shared-Key'='$key' } -Body @{ fqdn='$host' }\""
""",
    ),
    "client": (
        "The client of hetzner-dyndns",
        """
export PRE_SHARED_KEY='$key'
python update_dns.py $url $host

In client/docker-compose.yml:
  environment:
    BACKEND_URL: $url
    FQDN: $host
    PRE_SHARED_KEY: $key

Both families: RECORD_TYPES=A,AAAA.
""",
    ),
}
