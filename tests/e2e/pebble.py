"""A real ACME server, which validates challenges against the sandbox's DNS."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Mapping, Sequence

import trustme

from tests.e2e.processes import Hetzner, Program, environment
from tests.ports import free_port

_SECONDS = 120.0


class Pebble(Program):
    """Let's Encrypt's small ACME server, https://github.com/letsencrypt/pebble."""

    def __init__(self, folder: Path, hetzner: Hetzner) -> None:
        folder.mkdir(parents=True)
        authority, self.port = trustme.CA(), free_port()
        self.authority = str(folder / "authority.pem")
        authority.cert_pem.write_to_path(self.authority)
        certificate = authority.issue_cert("localhost")
        certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
        certificate.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
        configuration = {
            "listenAddress": f"127.0.0.1:{self.port}",
            "managementListenAddress": f"127.0.0.1:{free_port()}",
            "certificate": str(folder / "cert.pem"),
            "privateKey": str(folder / "key.pem"),
            "httpPort": 5002,
            "tlsPort": 5001,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": False,
        }
        (folder / "pebble.json").write_text(json.dumps({"pebble": configuration}))
        arguments = ["-config", str(folder / "pebble.json")]
        arguments += ["-dnsserver", f"127.0.0.1:{hetzner.dns_port}"]
        # Without these, pebble waits, refuses nonces, and doesn't validate a name again.
        variables = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}
        super().__init__("pebble", arguments, folder, **variables, PEBBLE_AUTHZREUSE="0")
        self.hetzner = hetzner

    def command(self, arguments: Sequence[str]) -> list[str]:
        return ["pebble", *arguments]

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}/dir"

    def start(self) -> None:
        super().start()
        self.wait_until(self._listens, "to listen")

    def stop(self) -> None:
        self.kill()  # it doesn't handle SIGTERM

    def run(self, command: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the lines of a client in a shell; it trusts this server."""
        trust = dict.fromkeys(("LEGO_CA_CERTIFICATES", "REQUESTS_CA_BUNDLE"), self.authority)
        return subprocess.run(
            ["sh", "-c", command],
            cwd=folder,
            env=environment(folder, **trust, **variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )

    def _listens(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0


def names_in(certificate: Path) -> set[str]:
    """Return the host names in a certificate."""
    openssl = shutil.which("openssl")
    assert openssl is not None
    command = [openssl, "x509", "-in", str(certificate), "-noout", "-ext", "subjectAltName"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {word.strip().partition(":")[2] for word in text.splitlines()[1].split(",")}


def account(host: str, user: str, key: str) -> Mapping[str, object]:
    """Return an account of acme-dns, as its clients store it by domain."""
    return {
        host: {
            "username": user,
            "password": key,
            "fulldomain": f"_acme-challenge.{host}",
            "subdomain": user,
            "allowfrom": [],
        }
    }
