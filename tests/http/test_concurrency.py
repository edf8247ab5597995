"""Many requests at once, through two workers: never two writes of one host at a time."""

from __future__ import annotations

from sandbox import Call
from tests.http.conftest import Serve
from tests.http.service import HOME, HOSTS, told
from tests.http.waiting import Background

THREADS = "40"  # more than the number of parallel requests, so that no host waits for another


def writes(calls: list[Call], name: str) -> list[tuple[float, float]]:
    """When each write of a record began and ended, in order."""
    spans = []
    for call in calls:
        body = call.body if isinstance(call.body, dict) else {}
        if call.method != "GET" and (body.get("name") == name or f"/{name}/" in call.path):
            assert call.ended is not None
            spans.append((call.started, call.ended))
    return sorted(spans)


def test_twenty_updates_of_one_host_never_overlap(serve: Serve) -> None:
    workers = [serve(THREADS=THREADS), serve(THREADS=THREADS)]
    sandbox = workers[0].sandbox
    sandbox.delay(0.02, path="/zones/*")
    running = [
        Background(lambda n=number: workers[n % 2].host().updates(f"198.51.100.{n + 1}"))  # type: ignore[misc]
        for number in range(20)
    ]
    answers = [told(update.result()) for update in running]

    assert {status for status, _ in answers} <= {200, 503}
    # Most requests are answered 503, perhaps also the last one; its desired state is stored.
    ((desired, _),) = workers[0].states().values()
    assert desired is not None
    assert told(workers[1].host().updates(desired))[0] == 200
    assert sandbox.records(HOME, "A") == [desired]
    ((_, state),) = workers[0].states().values()
    assert state in ("publishing", "published")
    spans = writes(sandbox.calls(), "home")
    assert spans
    assert [(a, b) for a, b in zip(spans, spans[1:]) if b[0] < a[1]] == []


def test_every_update_answered_with_good_reached_hetzner(serve: Serve) -> None:
    workers = [serve(THREADS=THREADS), serve(THREADS=THREADS)]
    running = [
        Background(lambda n=number: workers[n % 2].host().updates(f"198.51.100.{n % 4 + 1}"))  # type: ignore[misc]
        for number in range(20)
    ]
    answers = [told(update.result()) for update in running]
    sent = {
        record["value"]
        for call in workers[0].sandbox.calls()
        if isinstance(call.body, dict)
        for record in call.body["records"]
    }
    assert {body["ip"] for status, body in answers if status == 200} <= sent


def test_hosts_do_not_wait_for_one_another(serve: Serve) -> None:
    workers = [serve(THREADS=THREADS), serve(THREADS=THREADS)]
    running = [
        Background(lambda n=number, h=host: workers[n % 2].host(h).updates(f"198.51.100.{n + 1}"))  # type: ignore[misc]
        for number, host in enumerate(HOSTS)
    ]
    assert {update.result().status_code for update in running} == {200}
    for number, host in enumerate(HOSTS):
        assert workers[0].sandbox.records(host, "A") == [f"198.51.100.{number + 1}"]


def test_simultaneous_equal_updates_create_one_record(serve: Serve) -> None:
    workers = [serve(THREADS=THREADS), serve(THREADS=THREADS)]
    running = [
        Background(lambda n=number: workers[n % 2].host().updates("198.51.100.1"))  # type: ignore[misc]
        for number in range(20)
    ]
    answers = [told(update.result()) for update in running]
    # In each worker, one request is processed and one waits; the others are answered 503.
    assert {status for status, _ in answers} <= {200, 503}
    done = sorted(body["status"] for status, body in answers if status == 200)
    assert done == ["created"] + ["unchanged"] * (len(done) - 1)
    assert workers[0].sandbox.records(HOME, "A") == ["198.51.100.1"]
    assert len(writes(workers[0].sandbox.calls(), "home")) == 1
