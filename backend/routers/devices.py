"""The fields of routers and network storage: where they are, and what belongs into them.

What a device makes of its fields was found out from its maker's documentation and from servers
that speak dyndns2; `$`-names are those of `routers._fields`.
"""

from __future__ import annotations

from typing import Mapping, Tuple

# By id: the device's name, and the template.
TEMPLATES: Mapping[str, Tuple[str, str]] = {
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
