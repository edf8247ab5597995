"""Real proxies in front of a backend: as documented, as permissive as possible, or with TLS."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Sequence

import pytest
import trustme

from tests.e2e.processes import Program
from tests.meta.documents import blocks
from tests.ports import free_port

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "caddy" / "Caddyfile"

# Passes on as much as possible, and keeps its connections to the backend.
LAX_NGINX = """
upstream backend {{ server {backend}; keepalive 16; }}
ignore_invalid_headers off;
underscores_in_headers on;
client_max_body_size 0;
client_body_buffer_size 128k;
large_client_header_buffers 8 128k;
server {{
    listen 127.0.0.1:{port};
    location / {{
        proxy_pass http://backend;
        proxy_request_buffering {buffering};
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header X-Real-Ip $remote_addr;
    }}
}}
"""
_NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
worker_processes 1;
worker_rlimit_nofile 16384;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{inside}
}}
"""
_OF_CLOUDFLARE = "173.245.48.0/20"
_TLS_SERVER = """
server {{
{listeners}
    ssl_certificate {folder}/server.pem;
    ssl_certificate_key {folder}/server.key;
    location / {{
        proxy_pass http://{backend};
        proxy_set_header X-Real-Ip $remote_addr;
    }}
}}
"""
_HAPROXY = """
global
    nbthread 1
    maxconn 4000
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend all
    bind 127.0.0.1:{port}
    {options}
    {headers}
    default_backend one
backend one
    http-reuse aggressive
    server backend {backend} pool-purge-delay 60s
"""


class Proxy(Program):
    """A proxy on a port of this machine."""

    authority = ""  # the certificate file that clients must trust

    def __init__(
        self, name: str, arguments: Sequence[str], folder: Path, port: int, **names: str
    ) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.arguments = arguments
        super().__init__(name, arguments, folder, **names)

    def command(self, arguments: Sequence[str]) -> list[str]:
        return list(arguments)

    def start(self) -> None:
        super().start()
        self.wait_until(self._accepts, "to accept connections")

    def stop(self) -> None:
        """Kill the proxy: HAProxy's exit code after SIGTERM is not 0."""
        assert self.is_running, self.output
        self.kill()

    def _accepts(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def nginx(folder: Path, inside: str, port: int) -> Proxy:
    """Return an nginx with this text in its `http` block."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, inside=inside), encoding="utf-8")
    return Proxy("nginx", ["nginx", "-p", str(folder), "-c", str(config)], folder, port)


def tls_nginx(folder: Path, backend: str, addresses: Sequence[str] = (), port: int = 0) -> Proxy:
    """Return an nginx with TLS and its own certificate authority."""
    folder.mkdir(parents=True, exist_ok=True)
    addresses, port = addresses or ["127.0.0.1"], port or free_port()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate = authority.issue_cert("localhost", *(one.strip("[]") for one in addresses))
    certificate.private_key_pem.write_to_path(str(folder / "server.key"))
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(str(folder / "server.pem"), append=True)
    listeners = "\n".join(f"    listen {address}:{port} ssl;" for address in addresses)
    server = _TLS_SERVER.format(folder=folder, backend=backend, listeners=listeners)
    proxy = nginx(folder, server, port)
    proxy.url = f"https://127.0.0.1:{port}"
    proxy.authority = str(folder / "ca.pem")
    return proxy


def as_documented(block: str, port: int, backend: str, folder: Path) -> str:
    """Return a documented `server` block without TLS, with the addresses and folder of a test."""
    text = re.sub(r"(?m)^ *(listen \[::\]|ssl_certificate).*\n", "", block)
    text = text.replace("listen 443 ssl;", f"listen 127.0.0.1:{port};")
    text = re.sub(r"127\.0\.0\.1:8080|10\.0\.0\.1[12]:8080", backend, text)
    return text.replace("/var/log/nginx", str(folder))


def documented_nginx(
    folder: Path, backend: str, document: str = "docs/proxies.md", *, cdn: str = ""
) -> Proxy:
    """Return an nginx as a document configures it, behind the CDN at an address or behind none."""
    shown = [one.text for one in blocks() if one[:2] == (document, "nginx")]
    (block,) = (text for text in shown if "server_name" in text)
    if cdn:
        block = block.replace("    location /", f"{behind_a_cdn('nginx', cdn)}\n    location /", 1)
    port = free_port()
    return nginx(folder, as_documented(block, port, backend, folder), port)


def for_one_proxy(language: str) -> str:
    """Return what docs/proxies.md shows first in a language."""
    return next(one.text for one in blocks() if one[:2] == ("docs/proxies.md", language))


def behind_a_cdn(language: str, address: str) -> str:
    """Return what docs/proxies.md shows in a language for a CDN, with this address."""
    shown = [one.text for one in blocks() if one[:2] == ("docs/proxies.md", language)]
    (block,) = (text for text in shown if _OF_CLOUDFLARE in text)
    return block.replace(_OF_CLOUDFLARE, f"{address}/32")


def lax_nginx(folder: Path, backend: str, *, buffering: bool) -> Proxy:
    """Return a permissive nginx, with or without buffered request bodies."""
    port = free_port()
    switch = "on" if buffering else "off"
    return nginx(folder, LAX_NGINX.format(backend=backend, port=port, buffering=switch), port)


def haproxy(folder: Path, backend: str, *, options: str = "") -> Proxy:
    """Return a HAProxy as documented, with connections to the backend that all callers share."""
    headers = "\n    ".join(for_one_proxy("haproxy").splitlines())
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "haproxy.cfg"
    text = _HAPROXY.format(port=port, backend=backend, options=options, headers=headers)
    config.write_text(text, encoding="utf-8")
    return Proxy("haproxy", ["haproxy", "-f", str(config)], folder, port)


def caddy_program() -> str:
    """Return the path of Caddy: in the tests' environment, or else in the system."""
    own = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return shutil.which("caddy", path=own) or "caddy"


def caddy_version() -> tuple[int, ...]:
    """Return the version of the installed Caddy."""
    version = subprocess.run(
        [caddy_program(), "version"], capture_output=True, text=True, check=True
    )
    return tuple(map(int, re.findall(r"\d+", version.stdout)[:3]))


def caddyfile() -> str:
    """Return the documented Caddyfile, adapted to the installed version of Caddy."""
    text = EXAMPLE.read_text(encoding="utf-8")
    if caddy_version() < (2, 6, 4):  # Caddy of Debian 12 has another name for `request_buffers`
        text = re.sub(r"request_buffers (\S+)", r"buffer_requests\n\t\tmax_buffer_size \1", text)
    return text


def caddy(folder: Path, backend: str, *, cdn: str = "") -> Proxy:
    """Return a Caddy with the documented file, but without TLS; behind a CDN, or behind none."""
    if cdn and caddy_version() < (2, 7):
        pytest.skip("Caddy before 2.7 has no `client_ip_headers`")
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "Caddyfile"
    text = caddyfile()
    if cdn:
        text = text.replace("servers {", f"servers {{\n{behind_a_cdn('caddyfile', cdn)}", 1)
        text = text.replace("{remote_host}", "{client_ip}")
    config.write_text(text, encoding="utf-8")
    names: dict[str, str] = {"DOMAIN": f"http://:{port}", "BACKEND": backend}
    command = [caddy_program(), "run", "--config", str(config), "--adapter", "caddyfile"]
    return Proxy("caddy", command, folder, port, **names)


def connections_to(port: int) -> set[str]:
    """Return the sources of the open connections to a local port.

    https://man7.org/linux/man-pages/man5/proc_pid_net.5.html
    """
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    rows = [line.split() for line in lines]
    return {row[1] for row in rows if row[2].endswith(f":{port:04X}") and row[3] == "01"}
