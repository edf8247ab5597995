"""Hetzner's OpenAPI document allows every request of the adapter."""

from __future__ import annotations

from backend.hetzner.client import CloudApi
from backend.hetzner.dns import Hetzner, Location
from backend.model import Address, Deadline, DesiredRecord, RecordType
from sandbox import Sandbox
from tests.contract import openapi


@openapi.needs_document
def test_every_call_of_the_adapter_fits_the_document() -> None:
    with Sandbox(zones=["example.com"], action_seconds=0) as sandbox:
        hetzner = Hetzner(CloudApi(sandbox.token, sandbox.http_url, "test"), 60, 120)
        (zone,) = hetzner.zones(Deadline(20))
        for name in ("@", "*.home", "deep.name"):
            location = Location(zone, name)
            for text in ("198.51.100.1", "198.51.100.2", "2001:db8::1"):
                address = Address.parse(text)
                rrset = hetzner.read(location, Deadline(20)).get(address.type)
                desired = DesiredRecord(address.type, address)
                written = hetzner.put(location, desired, rrset, Deadline(20))
                hetzner.actions(written.actions, Deadline(20))
            there = hetzner.read(location, Deadline(20))[RecordType.A]
            hetzner.put(location, DesiredRecord(RecordType.A, None), there, Deadline(20))
            for text in ('"one"', '"two"'):
                texts = hetzner.read_texts(location, Deadline(20))
                hetzner.add_text(location, text, texts, Deadline(20))
            hetzner.remove_texts(location, ['"one"', '"two"'], Deadline(20))
            assert hetzner.read_texts(location, Deadline(20)).comments == {}
        calls = sandbox.calls()
    assert {call.method for call in calls} == {"GET", "POST", "DELETE"}
    for call in calls:
        openapi.check_request(call.method, call.path, call.query, call.body)
