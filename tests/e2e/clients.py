"""Update clients, configured as `python -m backend setup` prints."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable, Mapping

from backend.model import Hostname
from backend.setup_guides import snippet
from tests.e2e.processes import ROOT, Backend, Hetzner, run, until

# Variables that name the trusted authorities, for programs without an option.
_TRUST = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CA_BUNDLE")


@dataclass(frozen=True)
class Machine:
    """A machine that runs the clients of one host with its key."""

    folder: Path
    backend: Backend
    hetzner: Hetzner
    url: str
    authority: str  # a file; empty without TLS
    host: str
    key: str
    sent_names: tuple[str, ...] = ()  # names to send instead of the host's name

    @property
    def server(self) -> str:
        return self.url.split("//", 1)[1]

    @property
    def is_secure(self) -> bool:
        return self.url.startswith("https")

    @property
    def names(self) -> str:
        return ",".join(self.sent_names or (self.host,))

    def with_changes(self, **other: object) -> Machine:
        return replace(self, **other)  # type: ignore[arg-type]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return run(command, self.folder, **self.trust)

    @property
    def trust(self) -> Mapping[str, str]:
        return dict.fromkeys(_TRUST, self.authority) if self.authority else {}

    def write(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        return str(path)

    def snippet(self, device: str) -> str:
        """Return the snippet that the setup command prints for this host."""
        return snippet(device, Hostname.parse(self.host), self.key, self.url).text

    def dig(self, kind: str = "A") -> list[str]:
        port = str(self.hetzner.dns_port)
        answer = self.run("dig", "+short", "@127.0.0.1", "-p", port, self.host, kind)
        assert answer.returncode == 0, answer.stderr
        return sorted(answer.stdout.split())

    def expect(self, *addresses: str, kind: str = "A") -> None:
        """Wait until dig shows these addresses."""
        what = f"dig to show {addresses}"
        until(lambda: self.dig(kind) == list(addresses), what, lambda: self.backend.output)


def ddclient_conf(machine: Machine, address: str, more: str = "") -> str:
    text = machine.snippet("ddclient")
    for old, new in {
        "daemon=300": more,
        f"use=web, web={machine.url}/ip": f"use=cmd, cmd='echo {address}'",
        f"\n{machine.host}\n": f"\n{machine.names}\n",
    }.items():
        assert old in text
        text = text.replace(old, new)
    if machine.authority:
        text = f"ssl_ca_file={machine.authority}\n{text}"
    return machine.write("ddclient.conf", f"{text}\n")


def ddclient(machine: Machine, address: str) -> subprocess.CompletedProcess[str]:
    configuration = ddclient_conf(machine, address)
    cache, pid = str(machine.folder / "cache"), str(machine.folder / "pid")
    command = ["ddclient", "-file", configuration, "-cache", cache, "-pid", pid]
    return machine.run(*command, "-daemon=0", "-noquiet", "-verbose", "-force")


def inadyn_conf(machine: Machine, address: str, text: str = "") -> str:
    text = text or machine.snippet("inadyn")
    lines = [line for line in text.splitlines() if "checkip-" not in line or "command" in line]
    lines.insert(-1 - lines[::-1].index("}"), f'    checkip-command = "/bin/echo {address}"')
    text = "\n".join(lines).replace("period = 300", "period = 300\nallow-ipv6 = true")
    text = text.replace(
        f'= "{machine.host}"\n    ddns-server', f"= {_listed(machine)}\n    ddns-server"
    )
    if machine.authority:
        text = f'ca-trust-file = "{machine.authority}"\n{text}'
    return machine.write("inadyn.conf", f"{text}\n")


def _listed(machine: Machine) -> str:
    return f"{{ {', '.join(machine.sent_names)} }}" if machine.sent_names else f'"{machine.host}"'


def inadyn_command(machine: Machine, configuration: str, *options: str) -> list[str]:
    return [
        *("inadyn", "--foreground", "--force", "--loglevel=debug", *options),
        *("--cache-dir", str(machine.folder), "-P", str(machine.folder / "pid")),
        *("-f", configuration),
    ]


def inadyn(machine: Machine, address: str) -> subprocess.CompletedProcess[str]:
    return machine.run(*inadyn_command(machine, inadyn_conf(machine, address), "--once"))


def unifi(machine: Machine, address: str) -> subprocess.CompletedProcess[str]:
    """Send the request of a UniFi gateway, which cuts the server field at the first slash."""
    field = next(line for line in machine.snippet("unifi").splitlines() if "Server" in line)
    server, _, path = field.split()[1].partition("/")
    text = (
        f"period = 300\ncustom 1 {{\n    hostname = {_listed(machine)}\n"
        f'    username = "{machine.host}"\n    password = "{machine.key}"\n'
        f'    ddns-server = "{server}"\n    ddns-path = "/{path}"\n'
        f"    ssl = {'true' if machine.is_secure else 'false'}\n}}"
    )
    configuration = inadyn_conf(machine, address, text)
    return machine.run(*inadyn_command(machine, configuration, "--once"))


def url_of(machine: Machine, address: str) -> str:
    return f"{machine.url}/nic/update?hostname={machine.names}&myip={address}"


def wget(machine: Machine, address: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Send the request with GNU wget, which adds the login only after a challenge."""
    login = ("--user", machine.host, "--password", machine.key)
    if machine.authority:
        options = (*options, f"--ca-certificate={machine.authority}")
    return machine.run("wget", "-O", "-", *login, *options, url_of(machine, address))


def busybox(machine: Machine, address: str) -> subprocess.CompletedProcess[str]:
    """Send the request with BusyBox wget, as small routers do."""
    url = url_of(machine, address).replace("://", f"://{machine.host}:{machine.key}@")
    if machine.is_secure:  # BusyBox verifies names, but not addresses
        url = url.replace("@127.0.0.1", "@localhost")
    return machine.run("busybox", "wget", "-O", "-", url)


def curl(machine: Machine, address: str) -> subprocess.CompletedProcess[str]:
    line = machine.snippet("curl").splitlines()[0]
    query = f"hostname={machine.host}"
    trust = f" --cacert {machine.authority}" if machine.authority else ""
    line = line.replace(query, f"hostname={machine.names}&myip={address}") + trust
    return machine.run("sh", "-c", line)


def openwrt(machine: Machine, address: str) -> subprocess.CompletedProcess[str]:
    """Send the request of ddns-scripts: the URL with its values, requested by curl."""
    options = [line.split("'") for line in machine.snippet("openwrt").splitlines() if "'" in line]
    section = {words[0].split()[-1]: words[1] for words in reversed(options)}
    url = section["update_url"]
    for name, value in {
        "[USERNAME]": section["username"],
        "[PASSWORD]": section["password"],
        "[DOMAIN]": machine.names,
        "[IP]": address,
    }.items():
        url = url.replace(name, value)
    trust = ["--cacert", machine.authority] if machine.authority else []
    return machine.run("curl", "-RsS", "-f", "-o", "answer", *trust, url)


def dyndnsc(machine: Machine, address: str) -> subprocess.CompletedProcess[str]:
    text = (
        f"[dyndnsc]\nconfigs = me\n[me]\nupdater = dyndns2\n"
        f"updater-url = {machine.url}/nic/update\nupdater-hostname = {machine.names}\n"
        f"updater-userid = {machine.host}\nupdater-password = {machine.key}\n"
        f"detector = command\ndetector-command = echo {address}\n"
    )
    configuration = machine.write("dyndnsc.ini", text)
    return machine.run("dyndnsc", "--log-json", "--debug", "--config", configuration)


def client(machine: Machine, address: str) -> subprocess.CompletedProcess[str]:
    program = str(ROOT / "client" / "update_dns.py")
    key = ("env", f"PRE_SHARED_KEY={machine.key}", "INTERVAL=0")
    command = (sys.executable, program, machine.url, machine.names, address)
    return machine.run(*key, *command)


Client = Callable[[Machine, str], "subprocess.CompletedProcess[str]"]
CLIENTS: dict[str, Client] = {
    "ddclient": ddclient,
    "inadyn": inadyn,
    "unifi": unifi,
    "wget": wget,
    "busybox": busybox,
    "curl": curl,
    "openwrt": openwrt,
    "dyndnsc": dyndnsc,
    "client": client,
}
# Clients whose method has another name.
PROGRAMS = {"unifi": "inadyn", "openwrt": "curl", "client": "dig"}
