"""nginx with TLS in front of a backend, as README.md sets it up, by the test's own authority."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import List, Sequence

import trustme

from tests.e2e.processes import Program, free_port

_CONFIGURATION = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
worker_processes 1;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
{listeners}
        ssl_certificate {folder}/server.pem;
        ssl_certificate_key {folder}/server.key;
        location / {{
            proxy_pass http://{backend};
            proxy_set_header X-Real-Ip $remote_addr;
        }}
    }}
}}
"""


def configure(folder: Path, backend: str, addresses: Sequence[str], port: int) -> List[str]:
    """Write the configuration and the certificates into a folder; return the command.

    What its clients have to trust is ca.pem.
    """
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    bare = [address.strip("[]") for address in addresses]
    certificate = authority.issue_cert("localhost", *bare)
    certificate.private_key_pem.write_to_path(str(folder / "server.key"))
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(str(folder / "server.pem"), append=True)
    sinks = "\n".join(f"        listen {address}:{port} ssl;" for address in addresses)
    text = _CONFIGURATION.format(folder=folder, backend=backend, sinks=sinks)
    (folder / "nginx.conf").write_text(text)
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]


class Nginx(Program):
    """The proxy on this machine; `authority` is what its clients have to trust."""

    def __init__(self, folder: Path, backend: str) -> None:
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.authority = str(folder / "ca.pem")
        command = configure(folder, backend, ["127.0.0.1"], self.port)
        super().__init__("nginx", command, folder)

    def command(self, arguments: Sequence[str]) -> List[str]:
        return list(arguments)

    def start(self) -> None:
        super().start()
        self.wait_until(self._accepts, "to accept connections")

    def _accepts(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        except OSError:
            return False
        return True
