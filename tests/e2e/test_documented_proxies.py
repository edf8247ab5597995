"""nginx and Caddy accept the documented configurations."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import trustme

from tests.e2e import proxies
from tests.e2e.processes import run
from tests.meta.documents import Block, blocks

# The upstream is that of docs/operations.md.
_AROUND = "upstream dyndns { server 127.0.0.1:8080; }\nserver {\n"
LIMITS = (
    "client_max_body_size 16k;",
    "client_header_timeout",
    "client_body_timeout",
    "limit_conn ",
)


def nginx_blocks() -> list[Block]:
    return [block for block in blocks() if block.language == "nginx"]


def texts() -> list[str]:
    """Return the documented files, and the first one with the lines of docs/security.md."""
    found: dict[str, list[str]] = {block.document: [] for block in nginx_blocks()}
    for block in nginx_blocks():
        found[block.document].append(block.text)
    before, inside = found.pop("docs/security.md")
    for texts_of in found.values():
        texts_of[:] = [f"{_AROUND}{text}\n}}" if is_part(text) else text for text in texts_of]
    whole = found["docs/proxies.md"][0].replace("access_log off;", f"{inside}\n", 1)
    return [*(text for texts in found.values() for text in texts), f"{before}\n{whole}"]


def is_part(text: str) -> bool:
    """Return whether a text belongs into the `server` block of the first example."""
    return text.startswith("location ")


each_block = pytest.mark.parametrize("block", nginx_blocks(), ids=lambda block: block.document)


@pytest.mark.real("nginx")
@pytest.mark.parametrize("text", texts(), ids=lambda text: text.splitlines()[0][:30])
def test_nginx_accepts_the_documented_configuration(text: str, folder: Path) -> None:
    pair = trustme.CA().issue_cert("your-backend.example.com")
    pair.private_key_pem.write_to_path(str(folder / "privkey.pem"))
    pair.cert_chain_pems[0].write_to_path(str(folder / "fullchain.pem"))
    text = text.replace("/var/log/nginx", str(folder))
    text = re.sub(r"/etc/letsencrypt/live/[^/]+", str(folder), text)
    proxies.nginx(folder, text, 0)
    ended = run(["nginx", "-t", "-p", str(folder), "-c", str(folder / "nginx.conf")], folder)
    assert ended.returncode == 0, ended.stderr
    assert "[warn]" not in ended.stderr


@each_block
def test_each_nginx_that_passes_requests_on_limits_them(block: Block) -> None:
    if "proxy_pass" in block.text and not is_part(block.text):
        assert [limit for limit in LIMITS if limit not in block.text] == []


@pytest.mark.real("caddy")
def test_caddy_accepts_the_example(folder: Path) -> None:
    config = folder / "Caddyfile"
    config.write_text(proxies.caddyfile(), encoding="utf-8")
    names = {"DOMAIN": "dyndns.example.com", "BACKEND": "127.0.0.1:8080"}
    command = [proxies.caddy_program(), "validate", "--config", str(config)]
    ended = run([*command, "--adapter", "caddyfile"], folder, **names)
    assert ended.returncode == 0, ended.stderr
    assert "enabling automatic HTTP->HTTPS redirects" in ended.stderr
    assert '"level":"warn"' not in ended.stderr
