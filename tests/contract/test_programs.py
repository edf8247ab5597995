"""Unmodified third-party programs for Hetzner's API work with the sandbox.

Most of these programs have no option for another URL: `Tunnel` directs their calls to the sandbox.
"""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Iterator, Mapping
from urllib.parse import urlsplit

import pytest

from tests.contract.tunnel import Tunnel
from tests.e2e.processes import TOKEN, Hetzner, run
from tests.shipping.tools import find

# Warnings of the programs themselves don't fail the tests.
pytestmark = pytest.mark.filterwarnings("default")

HOST = "home.example.com"
FIRST = {"A": "192.0.2.1", "AAAA": "2001:db8::1", "TXT": "v=spf1 -all"}
SECOND = {"A": "192.0.2.2", "AAAA": "2001:db8::2", "TXT": 'a "quoted" word'}
NONE: dict[str, str] = {}
Records = Mapping[str, str]


@pytest.fixture
def hetzner(tmp_path: Path) -> Iterator[Hetzner]:
    with Hetzner(tmp_path / "hetzner") as hetzner:
        yield hetzner


@pytest.fixture(autouse=True)
def tunnel(hetzner: Hetzner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tunnel]:
    with Tunnel(urlsplit(hetzner.api_url).port or 0, tmp_path) as tunnel:
        for name, value in {**tunnel.variables, "HOME": str(tmp_path)}.items():
            monkeypatch.setenv(name, value)
        for name in ("NO_PROXY", "no_proxy", "https_proxy"):
            monkeypatch.delenv(name, raising=False)
        yield tunnel


def hcloud(_: Path, before: Records, after: Records) -> None:
    """Hetzner's client has one call for each change of an RRSet."""
    zones = importlib.import_module("hcloud").Client(TOKEN).zones
    domain = importlib.import_module("hcloud.zones")
    zone = domain.Zone(name="example.com")
    for kind in {**before, **after}:
        rrset = domain.ZoneRRSet(name="home", type=kind, zone=zone)
        values = [after[kind]] if kind in after else []
        records = [domain.ZoneRecord(escaped(value, kind)) for value in values]
        if not records:
            zones.delete_rrset(rrset)
        elif kind in before:
            zones.set_rrset_records(rrset, records)
        else:
            zones.create_rrset(zone, name="home", type=kind, records=records)


def escaped(value: str, kind: str) -> str:
    return json.dumps(value) if kind == "TXT" else value


def lexicon(_: Path, before: Records, after: Records) -> None:
    """dns-lexicon has one call for each change of a record.

    Its command asks the system's DNS for the zone, so the test uses its library.
    """
    client = importlib.import_module("lexicon.client").Client
    options = {"provider_name": "hetzner", "domain": "example.com", "ttl": 600}
    resolver = importlib.import_module("lexicon.config").ConfigResolver()
    with client(resolver.with_dict({**options, "hetzner": {"auth_token": TOKEN}})) as operations:
        for kind in {**before, **after}:
            if kind not in after:
                assert operations.delete_record(None, kind, HOST)
            elif kind in before:
                assert operations.update_record(None, kind, HOST, after[kind])
            else:
                assert operations.create_record(kind, HOST, after[kind])
        listed = [record for kind in FIRST for record in operations.list_records(kind, HOST)]
    assert {record["type"]: record["content"] for record in listed} == after


def octodns(folder: Path, _: Records, after: Records) -> None:
    """octoDNS brings a zone to the state in a file."""
    zone = [{"type": kind, "value": value} for kind, value in after.items()]
    source = {"class": "octodns.provider.yaml.YamlProvider", "directory": ".", "default_ttl": 600}
    target = {"class": "octodns_hetzner.HetznerProvider", "backend": "hcloud", "token": TOKEN}
    config = {
        "providers": {"files": source, "hetzner": target},
        "zones": {"example.com.": {"sources": ["files"], "targets": ["hetzner"]}},
    }
    # JSON is YAML, too.
    (folder / "example.com.yaml").write_text(json.dumps({"home": zone} if zone else {}))
    (folder / "config.yaml").write_text(json.dumps(config))
    program = find("octodns-sync")
    variables = {name: os.environ[name] for name in ("HTTPS_PROXY", "REQUESTS_CA_BUNDLE")}
    ended = run([program, "--config-file=config.yaml", "--doit", "--force"], folder, **variables)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(hcloud, marks=pytest.mark.real("hcloud")),
        pytest.param(lexicon, marks=pytest.mark.real("lexicon")),
        pytest.param(octodns, marks=pytest.mark.real("octodns-sync", "octodns_hetzner")),
    ],
)
def test_a_program_creates_changes_and_deletes_records(
    change: Callable[[Path, Records, Records], None], hetzner: Hetzner, tmp_path: Path
) -> None:
    for before, after in ((NONE, FIRST), (FIRST, SECOND), (SECOND, NONE)):
        change(tmp_path, before, after)
        for kind in FIRST:
            hetzner.expect(HOST, *shown(after, kind), kind=kind)


def shown(records: Records, kind: str) -> list[str]:
    """Return the values as dnslib prints them."""
    values = [records[kind]] if kind in records else []
    return [f'"{value}"' for value in values] if kind == "TXT" else values


@pytest.mark.real("certbot", "certbot_dns_hetzner_cloud")
def test_certbots_plugin_adds_and_removes_challenges(hetzner: Hetzner, tmp_path: Path) -> None:
    credentials = tmp_path / "hetzner.ini"
    credentials.touch(mode=0o600)
    credentials.write_text(f"dns_hetzner_cloud_api_token = {TOKEN}\n")
    config = SimpleNamespace(
        dns_hetzner_cloud_credentials=str(credentials),
        dns_hetzner_cloud_follow_cname=False,
        dns_hetzner_cloud_propagation_seconds=0,
        noninteractive_mode=True,
        set_by_user=lambda _: True,
    )
    plugin = importlib.import_module("certbot_dns_hetzner_cloud.authenticator")
    authenticator = plugin.HetznerCloudDNSAuthenticator(config, "dns-hetzner-cloud")
    # As for a certificate for a domain and its wildcard: one name with two values.
    one, two = (challenge_of(token) for token in (b"1" * 32, b"2" * 32))
    with importlib.import_module("certbot.tests.util").patch_display_util():
        authenticator.perform([one, two])
    name = "_acme-challenge.example.com"
    hetzner.expect(name, text(one), text(two), kind="TXT")
    authenticator.cleanup([one])
    hetzner.expect(name, text(two), kind="TXT")
    authenticator.cleanup([two])
    hetzner.expect(name, kind="TXT")


def challenge_of(token: bytes) -> Any:  # noqa: ANN401
    """Return a challenge of a certificate authority, as certbot passes it to its plugins."""
    known = importlib.import_module("certbot.plugins.dns_test_common").BaseAuthenticatorTest.achall
    body = importlib.import_module("acme.messages").ChallengeBody(
        chall=importlib.import_module("acme.challenges").DNS01(token=token),
        uri="https://ca.example.net/challenge",
    )
    return type(known)(challb=body, identifier=known.identifier, account_key=known.account_key)


def text(challenge: Any) -> str:  # noqa: ANN401
    return f'"{challenge.validation(challenge.account_key)}"'
