"""Records, zones and actions at Hetzner that leave room for doubt, with two real workers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.e2e.processes import TOKEN, Backend, Hetzner, until

FIRST, SECOND = "192.0.2.1", "192.0.2.2"


def api(hetzner: Hetzner, method: str, path: str, **body: Any) -> Any:  # noqa: ANN401
    """Call Hetzner's API as another program of the owner does."""
    answer = requests.request(
        method,
        f"{hetzner.api_url}{path}",
        json=body or None,
        headers={"Authorization": f"Bearer {TOKEN}"},
        timeout=20,
    )
    assert answer.ok, answer.text
    return answer.json()


def send(backend: Backend, host: str, ip: str, source: str = "") -> tuple[int, str]:
    answer = requests.get(
        f"{backend.url}/nic/update",
        params={"hostname": host, "myip": ip},
        auth=(host, backend.key_of(host)),
        headers={"X-Real-Ip": source} if source else {},
        timeout=20,
    )
    return answer.status_code, answer.text.strip()


def lines(backend: Backend, host: str, text: str) -> list[str]:
    return [line for line in backend.output.splitlines() if host in line and text in line]


def written(hetzner: Hetzner, host: str) -> int:
    calls = hetzner.calls_about(host)
    return len([call for call in calls if call["method"] == "POST" and call["status"] == 201])


def test_the_comment_of_the_same_address_is_kept_and_the_others_are_reported(
    backend: Backend, hetzner: Hetzner, host: str
) -> None:
    label = host.split(".", 1)[0]
    records = [{"value": FIRST, "comment": "old"}, {"value": SECOND, "comment": "second"}]
    api(hetzner, "POST", "/zones/example.com/rrsets", name=label, type="A", records=records)
    assert send(backend, host, FIRST) == (200, f"good {FIRST}")
    hetzner.expect(host, FIRST)
    rrset = api(hetzner, "GET", f"/zones/example.com/rrsets/{label}/A")["rrset"]
    assert rrset["records"] == [{"value": FIRST, "comment": "old"}]
    assert len(lines(backend, host, "has several A records")) == 1
    query = "SELECT host, old FROM history WHERE event = 'several'"
    assert (host, f"{FIRST}, {SECOND}") in backend.query(query)


def test_a_zone_that_becomes_primary_is_published_within_seconds(
    hetzner: Hetzner,
    tmp_path: Path,
) -> None:
    zone, host = "moved-zone.net", "home.moved-zone.net"
    nameservers = [{"address": "198.51.100.53"}]
    api(hetzner, "POST", "/zones", name=zone, mode="secondary", primary_nameservers=nameservers)
    with Backend(tmp_path, hetzner, REGISTERED_FQDNS=host) as backend:
        for _ in range(4):  # both workers
            assert send(backend, host, FIRST)[0] == 502
        api(hetzner, "DELETE", f"/zones/{zone}")
        api(hetzner, "POST", "/zones", name=zone, mode="primary")

        def is_found() -> bool:  # by both workers, each of which lists the zones every few seconds
            return all(send(backend, host, f"192.0.2.{number}")[0] == 200 for number in range(2, 8))

        until(is_found, "the zone to be found again")
        hetzner.expect(host, "192.0.2.7")


def test_a_404_and_then_a_409_is_a_race(backend: Backend, hetzner: Hetzner, host: str) -> None:
    assert send(backend, host, FIRST)[0] == 200
    path = f"/zones/example.com/rrsets/{host.split('.', 1)[0]}/A/actions/set_records"
    hetzner.control("POST", "fail", status=404, method="POST", path=path, count=1)
    hetzner.control(
        "POST", "fail", status=409, method="POST", path="/zones/example.com/rrsets", count=1
    )
    assert send(backend, host, SECOND)[0] in (200, 503)
    hetzner.expect(host, SECOND)
    assert lines(backend, host, "can't be published") == []
    hetzner.control("DELETE", "fail")


@pytest.mark.parametrize("answer", [{"status": 410}, {"body": '{"actions": []}'}])
def test_without_actions_the_rrset_decides(
    hetzner: Hetzner,
    tmp_path: Path,
    answer: dict[str, object],
) -> None:
    host = "unknown.example.com"
    with Backend(tmp_path, hetzner, REGISTERED_FQDNS=host) as backend:
        hetzner.control("POST", "fail", method="GET", path="/actions", count=None, **answer)
        before = written(hetzner, host)
        ip = f"198.51.100.{len(str(answer))}"
        assert send(backend, host, ip) == (200, f"good {ip}")
        states = "SELECT state FROM records"
        until(lambda: backend.query(states) == [("published",)], "the record to be published")
        time.sleep(2)
        assert send(backend, host, ip) == (200, f"nochg {ip}")
        assert written(hetzner, host) == before + 1
        assert len(lines(backend, "", "Hetzner doesn't confirm that")) == 1
        hetzner.control("DELETE", "fail")


def test_two_devices_on_one_host_are_reported_once(
    backend: Backend, hetzner: Hetzner, host: str
) -> None:
    for number in range(60):
        mine = number % 2
        source = ("203.0.113.1", "203.0.113.2")[mine]
        assert send(backend, host, (FIRST, SECOND)[mine], source)[0] == 200
    (line,) = lines(backend, host, "was changed back and forth")
    assert "203.0.113.1" in line
    assert "203.0.113.2" in line
    hetzner.expect(host, SECOND)
