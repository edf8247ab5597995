"""What to paste into which router or program."""

from __future__ import annotations

import re
from string import Template
from typing import List, Mapping, NamedTuple, Tuple
from urllib.parse import quote, urlsplit

from backend.model import Hostname

# By id: the device's name, and the template.
DEVICE_TEMPLATES: Mapping[str, Tuple[str, str]] = {
    "any": (
        "Any device that speaks dyndns2",
        """
Provider     user-defined, custom, dyndns2 or DynDNS.org
Server       $server
Path         $path/nic/update
Host name    $host
User name    $host
Password     $key

If it wants one URL:
  $scheme://$host:$quoted_key@$place/nic/update?hostname=$host
and if it knows no login in a URL:
  $url/nic/update?hostname=$host&user=$host&pass=$quoted_key
Without an address, the one it comes from is set. With one, or with both:
  &myip=198.51.100.1,2001:db8::5
""",
    ),
    "fritzbox": (
        "AVM Fritz!Box",
        """
Internet > Permit Access > DynDNS (Internet > Freigaben > DynDNS):
  DynDNS provider  User-defined (Benutzerdefiniert)
  Update URL       $url/nic/update?hostname=<domain>&myip=<ipaddr>&myipv6=<ip6addr>
  Domain name      $host
  User name        $host
  Password         $key

IPv4 only: leave out &myipv6=<ip6addr>.
With machines behind it that have addresses of their own (IPv6), all in one request:
  Update URL       $url/nic/update?hostname=$host,OTHER.HOST&myip=<ipaddr>&myipv6=<ip6addr>&ip6lanprefix=<ip6lanprefix>
Give each of them the same key, and an entry in IPV6_INTERFACE_IDS: see docs/routers.md.
""",
    ),
    "speedport": (
        "Telekom Speedport",
        """
Internet > Dynamic DNS (Dynamisches DNS):
  Provider         Other provider (Anderer Anbieter)
  Update URL       $url/nic/update?hostname=$host&user=$host&pass=$quoted_key
  Domain name      $host
  User name        $host
  Password         $key

It sends IPv6 and IPv4 by itself where it has both. If it asks for a server instead of a URL:
  Update server    $place/nic/update
""",
    ),
    "vodafone": (
        "Vodafone Station",
        """
Internet > DynDNS, provider "Custom" (Benutzerdefiniert):
  Update URL       $scheme://$host:$quoted_key@$place/nic/update?hostname=$host&myip=%IP%
  Domain name      $host
  User name        $host
  Password         $key

IPv4 only. For IPv6, let a machine behind it send its own address: --for client, --for cron.
""",
    ),
    "unifi": (
        "Ubiquiti UniFi gateway",
        """
Settings > Internet > your WAN > Dynamic DNS > Create New:
  Service          custom
  Hostname         $host
  Username         $host
  Password         $key
  Server           $place/nic/update?hostname=%h&myip=%i

IPv4 only. For IPv6, let a machine behind it send its own address: --for client, --for cron.
""",
    ),
    "opnsense": (
        "OPNsense (os-ddclient)",
        """
Services > Dynamic DNS > Settings > General: backend "native". Then Accounts > +:
  Service          Custom
  Protocol         Custom GET
  Server           $url/nic/update?hostname=__HOSTNAME__&myip=__MYIP__
  Username         $host
  Password         $key
  Hostname(s)      $host
  Check ip method  Interface [IPv4]
  Interface to monitor  your WAN

IPv6: a second account, all the same but for
  Check ip method  Interface [IPv6]

It asks only when its address changes. So that it isn't taken for lost:
System > Settings > Cron > +, command "Force ddclient update", each hour.
""",
    ),
    "pfsense": (
        "pfSense",
        """
Services > Dynamic DNS > Add:
  Service Type     Custom
  Interface to monitor  WAN
  Interface to send update from  WAN
  Username         $host
  Password         $key
  Update URL       $url/nic/update?hostname=$host&myip=%IP%
  Result Match     good %IP%|nochg %IP%

IPv6: a second entry, all the same but for
  Service Type     Custom (v6)
""",
    ),
    "openwrt": (
        "OpenWrt (ddns-scripts)",
        """
opkg update && opkg install ddns-scripts curl ca-bundle
cat >>/etc/config/ddns <<'END'

config service 'hetzner_ipv4'
	option enabled '1'
	option lookup_host '$host'
	option domain '$host'
	option username '$host'
	option password '$key'
	option update_url '$scheme://[USERNAME]:[PASSWORD]@$place/nic/update?hostname=[DOMAIN]&myip=[IP]'
	option force_interval '1'
	option force_unit 'hours'
	option use_https '$one'
	option cacert '/etc/ssl/certs/ca-certificates.crt'
	option ip_source 'network'
	option ip_network 'wan'
	option interface 'wan'

config service 'hetzner_ipv6'
	option enabled '1'
	option use_ipv6 '1'
	option lookup_host '$host'
	option domain '$host'
	option username '$host'
	option password '$key'
	option update_url '$scheme://[USERNAME]:[PASSWORD]@$place/nic/update?hostname=[DOMAIN]&myip=[IP]'
	option force_interval '1'
	option force_unit 'hours'
	option use_https '$one'
	option cacert '/etc/ssl/certs/ca-certificates.crt'
	option ip_source 'network'
	option ip_network 'wan6'
	option interface 'wan6'
END
/etc/init.d/ddns enable && /etc/init.d/ddns restart

IPv4 only: leave out the second section.
""",
    ),
    "mikrotik": (
        "MikroTik RouterOS 7",
        r"""
/system script add name=hetzner-dyndns policy=read,test source="/tool fetch mode=$scheme \
    url=\"$url/nic/update\?hostname=$host\" user=\"$host\" password=\"$key\" output=none"
/system scheduler add name=hetzner-dyndns interval=5m start-time=startup on-event=hetzner-dyndns

The address it comes from is set. For both families, send them: put
  &myip=198.51.100.1,2001:db8::5
behind the host name, with the addresses of your interfaces.
""",
    ),
    "synology": (
        "Synology DSM",
        """
Control Panel > External Access > DDNS > Customize Provider:
  Service Provider  hetzner-dyndns
  Query URL         $url/nic/update?hostname=__HOSTNAME__&myip=__MYIP__&user=__USERNAME__&pass=__PASSWORD__

Then Add:
  Service Provider  hetzner-dyndns
  Hostname          $host
  Username/Email    $host
  Password/Key      $key

IPv4 only. For IPv6, add a task under Control Panel > Task Scheduler: --for curl.
""",
    ),
}

# By id: the program's name, and the template.
PROGRAM_TEMPLATES: Mapping[str, Tuple[str, str]] = {
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

# Characters that no firmware trips over: a Fritz!Box, for one, escapes nothing.
_HARMLESS = re.compile(r"[A-Za-z0-9_-]+")
# The same of an address: what is pasted into a shell must not be able to end its quotes.
_ADDRESS = re.compile(r"https?://([\w.-]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?(/[\w.~/-]*)?")

EXAMPLE_URL = "https://your-backend.example.com"

_TEMPLATES = {**DEVICE_TEMPLATES, **PROGRAM_TEMPLATES}
# By id: how people call it.
DEVICES: Mapping[str, str] = {device: name for device, (name, _) in _TEMPLATES.items()}


class Snippet(NamedTuple):
    """What to fill in for one device; it holds the host's key."""

    device: str  # a key of DEVICES
    name: str
    text: str


def snippets(host: Hostname, key: str, url: str) -> List[Snippet]:
    """Return what to paste for every device, in the order of `DEVICES`.

    `url` is where the world reaches this service: http or https, without a final slash.
    """
    return [snippet(device, host, key, url) for device in DEVICES]


def snippet(device: str, host: Hostname, key: str, url: str) -> Snippet:
    """Return what to paste for one device of `DEVICES`; a `KeyError` for any other."""
    name, text = _TEMPLATES[device]
    return Snippet(device, name, Template(text.strip("\n")).substitute(_fields(host, key, url)))


def is_harmless(key: str) -> bool:
    """Whether every device can be given this key as it stands."""
    return _HARMLESS.fullmatch(key) is not None


def is_address(url: str) -> bool:
    """Whether a text can be where the world reaches this service, and nothing else."""
    try:
        urlsplit(url)
    except ValueError:  # what is in brackets is no IPv6 address
        return False
    return _ADDRESS.fullmatch(url) is not None


def _fields(host: Hostname, key: str, url: str) -> Mapping[str, str]:
    parts = urlsplit(url)
    is_secure = parts.scheme == "https"
    return {
        "host": host.text,
        "key": key,
        "quoted_key": quote(key, safe=""),  # in a URL
        "url": url,
        "scheme": parts.scheme,
        "server": parts.netloc,
        "path": parts.path,
        "place": f"{parts.netloc}{parts.path}",
        "yes": "yes" if is_secure else "no",
        "true": "true" if is_secure else "false",
        "one": "1" if is_secure else "0",
    }
