"""`FakeCloudApi` of the unit tests answers as the sandbox does through `CloudApi`."""

from __future__ import annotations

import contextlib
import inspect
from typing import Any, Callable, Dict, Iterator, Optional, Tuple
from urllib.parse import urlencode

import pytest

from backend.errors import (
    ChangeRefused,
    DyndnsError,
    HetznerBusy,
    HetznerUnreachable,
    TokenRejected,
)
from backend.hetzner.client import CloudApi, HetznerMalformed
from backend.hetzner.dns import (
    ACTIONS_A_CALL,
    ActionState,
    Hetzner,
    Location,
    RRSet,
    Zone,
)
from backend.model import Address, Change, Deadline, DesiredRecord, RecordType
from sandbox import Sandbox
from tests.contract import openapi
from tests.unit.fakes import Clock, FakeCloudApi

READER = "readonly" * 8
ZONES = ("example.com", "example.net", *(f"zone{number}.example" for number in range(60)))
FIRST, SECOND, V6 = map(Address.parse, ("198.51.100.1", "198.51.100.2", "2001:db8::1"))
HOME = "/zones/example.com/rrsets/home/A"
RRSETS = "/zones/example.com/rrsets"
RECORD = {"value": "198.51.100.1"}
NEW = {"name": "home", "type": "A", "ttl": 3600, "records": [RECORD]}


class Side:
    """One of the two compared APIs."""

    def __init__(self, api: Any, publish: Callable[..., None]) -> None:  # noqa: ANN401
        self.api = api
        self.publish = publish
        self.hetzner = Hetzner(api, 3600, 60)

    def answer(
        self,
        method: str,
        path: str,
        query: Any = (),  # noqa: ANN401
        body: Any = None,  # noqa: ANN401
    ) -> dict[str, Any] | type:
        return self.result(lambda: self.api.call(method, path, Deadline(20), query, body))

    def result(self, work: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Return what a call returns, or the class of its error."""
        try:
            return work()
        except DyndnsError as error:
            return type(error)


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    with Sandbox(ZONES, read_only_tokens=[READER], action_seconds=3600) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Sandbox:
    running.reset()
    return running


@pytest.fixture
def real(sandbox: Sandbox) -> Side:
    return Side(CloudApi(sandbox.token, sandbox.http_url, "test"), sandbox.publish)


@pytest.fixture
def fake() -> Side:
    api = FakeCloudApi(*ZONES)
    return Side(
        api, lambda name, kind, *values, ttl=None: api.publish(name, kind, *values, ttl=ttl)
    )


def is_part(part: Any, whole: Any) -> bool:  # noqa: ANN401
    """Check whether an answer of the sandbox includes the fake's answer, except generated ids."""
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(
            name in whole and (name == "id" or is_part(value, whole[name]))
            for name, value in part.items()
        )
    if isinstance(part, list) and isinstance(whole, list):
        return len(part) == len(whole) and all(map(is_part, part, whole))
    return bool(part == whole)


Step = Tuple[str, str, Any, Optional[Dict[str, Any]]]
BOTH = [("name", "home"), ("type", "A"), ("type", "AAAA"), ("type", "CNAME")]
V6_RECORD = {"value": "2001:db8::1", "comment": "the cellar"}
STEPS: dict[str, list[Step]] = {
    "the first page of zones": [("GET", "/zones", [("page", "1"), ("per_page", "50")], None)],
    "the last page of zones": [("GET", "/zones", [("page", "2"), ("per_page", "50")], None)],
    "a page without a size": [("GET", "/zones", (), None)],
    "a page beyond the last": [("GET", "/zones", [("page", "9"), ("per_page", "50")], None)],
    "a name without records": [("GET", RRSETS, BOTH, None)],
    "one family of a name": [
        ("POST", RRSETS, (), NEW),
        ("POST", RRSETS, (), {**NEW, "type": "AAAA", "records": [V6_RECORD]}),
        ("GET", RRSETS, [("name", "home"), ("type", "AAAA")], None),
    ],
    "both families of a name": [
        ("POST", RRSETS, (), NEW),
        ("POST", RRSETS, (), {**NEW, "type": "AAAA", "records": [V6_RECORD]}),
        ("GET", RRSETS, BOTH, None),
    ],
    "another name": [
        ("POST", RRSETS, (), {**NEW, "name": "@"}),
        ("GET", RRSETS, [("name", "@"), ("type", "A")], None),
        ("GET", RRSETS, BOTH, None),
    ],
    "all addresses of a zone": [
        ("POST", RRSETS, (), NEW),
        ("POST", RRSETS, (), {**NEW, "name": "nas"}),
        ("POST", RRSETS, (), {**NEW, "name": "www", "type": "TXT", "records": [{"value": '"x"'}]}),
        ("GET", RRSETS, [("type", "A"), ("type", "AAAA"), ("per_page", "1")], None),
        ("GET", RRSETS, [("type", "A"), ("page", "2"), ("per_page", "1")], None),
    ],
    "other records with a comment": [
        ("POST", RRSETS, (), NEW),
        ("POST", f"{HOME}/actions/set_records", (), {"records": [{**RECORD, "comment": "x"}]}),
        ("GET", RRSETS, BOTH, None),
        ("POST", f"{HOME}/actions/set_records", (), {"records": [{"value": "198.51.100.2"}]}),
        ("GET", RRSETS, BOTH, None),
    ],
    "another TTL": [
        ("POST", RRSETS, (), NEW),
        ("POST", f"{HOME}/actions/change_ttl", (), {"ttl": 60}),
        ("GET", RRSETS, BOTH, None),
    ],
    "a deleted record": [
        ("POST", RRSETS, (), NEW),
        ("DELETE", HOME, (), None),
        ("GET", RRSETS, BOTH, None),
        ("DELETE", HOME, (), None),
    ],
    "a record that exists": [("POST", RRSETS, (), NEW), ("POST", RRSETS, (), NEW)],
    "an address beside a CNAME": [
        ("POST", RRSETS, (), {**NEW, "type": "CNAME", "records": [{"value": "www"}]}),
        ("POST", RRSETS, (), NEW),
    ],
    "a CNAME beside an address": [
        ("POST", RRSETS, (), NEW),
        ("POST", RRSETS, (), {**NEW, "type": "CNAME", "records": [{"value": "www"}]}),
    ],
    "records of an unknown name": [
        ("POST", f"{HOME}/actions/set_records", (), {"records": [RECORD]})
    ],
    "the TTL of an unknown name": [("POST", f"{HOME}/actions/change_ttl", (), {"ttl": 60})],
    "an unknown zone": [
        ("GET", "/zones/nowhere.example/rrsets", BOTH, None),
        ("POST", "/zones/nowhere.example/rrsets", (), NEW),
        ("DELETE", "/zones/nowhere.example/rrsets/home/A", (), None),
    ],
    "unknown actions": [("GET", "/actions", [("id", "7")], None)],
}


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS.keys())
def test_the_fake_answers_each_call_as_the_sandbox_does(
    steps: list[Step], real: Side, fake: Side
) -> None:
    for step in steps:
        expected, answer = real.answer(*step), fake.answer(*step)
        assert is_part(answer, expected), (step, answer, expected)


@openapi.needs_document
@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS.keys())
def test_hetzner_documents_each_of_these_calls(steps: list[Step]) -> None:
    for method, path, query, body in steps:
        openapi.check_request(method, path, urlencode(query), body)


def test_both_refuse_record_calls_for_a_secondary_zone(
    sandbox: Sandbox, real: Side, fake: Side
) -> None:
    server = {"address": "192.0.2.53"}
    body = {"name": "example.org", "mode": "secondary", "primary_nameservers": [server]}
    real.api.call("POST", "/zones", Deadline(20), body=body)
    sandbox.show_zone("example.org", delegation="valid")
    fake.api.zones["example.org"] = "secondary"
    query = [("page", "2"), ("per_page", "50")]
    assert is_part(fake.answer("GET", "/zones", query), real.answer("GET", "/zones", query))
    path = "/zones/example.org/rrsets"
    for step in (("GET", path, BOTH), ("POST", path, (), NEW), ("DELETE", f"{path}/home/A")):
        assert fake.answer(*step) is real.answer(*step)


@pytest.mark.parametrize("read_only", [False, True])
def test_both_refuse_a_read_only_token_alike(
    sandbox: Sandbox, fake: Side, *, read_only: bool
) -> None:
    token = READER if read_only else sandbox.token
    real = Side(CloudApi(token, sandbox.http_url, "test"), sandbox.publish)
    fake.api.read_only = read_only
    for step in (("POST", RRSETS, (), NEW), ("GET", RRSETS, BOTH), ("DELETE", HOME)):
        assert is_part(fake.answer(*step), real.answer(*step))
    allowed = [side.hetzner.may_write(Deadline(20)) for side in (fake, real)]
    assert allowed == [not read_only] * 2


def put(
    side: Side,
    location: Location,
    address: Address | None,
    rrset: RRSet | None,
    *,
    rewrite: bool = False,
) -> tuple[Change, int]:
    """Write a record; return the change and the number of actions."""
    desired = DesiredRecord(RecordType.A if address is None else address.type, address)
    written = side.hetzner.put(location, desired, rrset, Deadline(20), rewrite=rewrite)
    return written.change, len(written.actions)


def adapter_results(side: Side) -> list[Any]:
    """Return all results of the adapter for a host, from its creation to its removal."""
    hetzner, deadline = side.hetzner, Deadline(20)
    location = Location(Zone("example.com", "primary", hetzner), "home")
    side.publish("alias.example.com", "CNAME", "www.example.net.", ttl=60)
    side.publish("old.example.com", "A", "198.51.100.9", ttl=600)
    found: list[Any] = [hetzner.zones(deadline)]
    found.append(hetzner.read_zone(location.zone, deadline, ["CNAME"]))
    for address in (FIRST, SECOND, V6):
        rrset = hetzner.read(location, deadline).get(address.type)
        found.append(put(side, location, address, rrset))
        found.append(hetzner.read(location, deadline))
    found.append(side.result(lambda: put(side, location, FIRST, None)))  # it exists already
    found.append(hetzner.read_zone(location.zone, deadline))
    rrset = hetzner.read(location, deadline)[RecordType.A]
    found.append(put(side, location, SECOND, rrset, rewrite=True))
    found.append(put(side, location, None, rrset))
    found.append(put(side, location, None, rrset))
    found.append(side.result(lambda: put(side, location, FIRST, rrset)))  # it is gone
    found.append(put(side, location, FIRST, None))
    for name in ("alias", "old"):
        other = Location(location.zone, name)
        found.append(side.result(lambda other=other: hetzner.read(other, deadline)))
    gone = Location(Zone("nowhere.example", "primary", hetzner), "home")
    found.append(side.result(lambda: hetzner.read_zone(gone.zone, deadline)))
    found.append(side.result(lambda: put(side, gone, FIRST, None)))
    return found


def test_the_adapter_gets_the_same_results_from_both(real: Side, fake: Side) -> None:
    assert adapter_results(fake) == adapter_results(real)


@pytest.mark.parametrize("status", ["success", "error"])
def test_both_report_running_and_ended_actions_alike(status: str, fake: Side) -> None:
    clock, location = Clock(), Location(Zone("example.com", "primary", fake.hetzner), "home")
    with Sandbox(action_seconds=10, clock=clock) as sandbox:
        sandbox.actions_end(status)
        real = Side(CloudApi(sandbox.token, sandbox.http_url, "test"), sandbox.publish)
        desired = DesiredRecord(RecordType.A, FIRST)
        numbers = [
            side.hetzner.put(location, desired, None, Deadline(20)).actions[0]
            for side in (real, fake)
        ]
        assert [state.status for state in states(real, numbers[0])] == ["running"]
        assert states(real, numbers[0]) == states(fake, numbers[1])
        clock.advance(11)
        fake.api.end_action(numbers[1], status)
        assert states(real, numbers[0]) == states(fake, numbers[1])


def states(side: Side, number: int) -> list[ActionState]:
    """Return the states of actions, without those that the API doesn't have."""
    return list(side.hetzner.actions([number, *range(1, ACTIONS_A_CALL)], Deadline(20)).values())


def test_the_fake_has_the_signature_of_the_real_call() -> None:
    real, fake = (inspect.signature(one.call).parameters for one in (CloudApi, FakeCloudApi))
    assert [(one.name, one.default) for one in real.values()] == [
        (one.name, one.default) for one in fake.values()
    ]


def test_rate_limit_headers_set_the_flags_that_the_fake_has(fake: Side) -> None:
    with Sandbox(["example.com"], limits=(40, 40)) as limited:
        api = CloudApi(limited.token, limited.http_url, "test")
        flags = [(api.is_short, api.is_low)]
        with contextlib.suppress(HetznerBusy):
            for _ in range(50):
                api.call("GET", "/zones", Deadline(20))
                flags.append((api.is_short, api.is_low))
        assert 1 < len(flags) < 50
    assert flags[0] == (fake.api.is_short, fake.api.is_low) == (False, False)
    assert sorted(set(flags)) == [(False, False), (True, False), (True, True)]


@pytest.mark.parametrize(
    ("fault", "family"),
    [
        ({"status": 401, "code": "unauthorized"}, TokenRejected),
        ({"status": 422, "code": "protected"}, ChangeRefused),
        ({"status": 429, "code": "rate_limit_exceeded"}, HetznerBusy),
        ({"status": 503}, HetznerBusy),
        ({"drop": True}, HetznerUnreachable),
        ({"html": True}, HetznerMalformed),
    ],
)
def test_the_errors_that_tests_put_into_the_fake_are_real(
    fault: dict[str, Any], family: type[DyndnsError], sandbox: Sandbox, real: Side
) -> None:
    sandbox.fail(**fault)
    answer = real.answer("GET", "/zones")
    assert answer is family
