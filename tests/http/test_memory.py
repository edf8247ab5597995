"""State that the store keeps across requests, restarts and workers; when Hetzner is called."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing

import pytest

from backend.web import app
from backend.web.request import SENT_BYTES, SentBytes
from tests.http.conftest import Serve
from tests.http.service import (
    HOME,
    LIST,
    Host,
    Router,
    Service,
    reading,
    record,
    refused,
    said,
    setting,
    told,
)


def test_both_protocols_share_one_memory(service: Service, host: Host, router: Router) -> None:
    host.updates("198.51.100.1")
    service.calls()
    assert said(router.updates(myip="198.51.100.1")) == (200, b"nochg 198.51.100.1\n")
    router.updates(myip="198.51.100.2")
    service.calls()
    assert told(host.updates("198.51.100.2")) == (200, record("unchanged", "198.51.100.2"))
    assert service.calls() == []


def test_after_a_restart_an_unchanged_address_costs_no_call(serve: Serve) -> None:
    service = serve()
    service.router().updates(myip="198.51.100.1,2001:db8::5")
    service.stop()
    service.calls()
    service = serve()
    answer = service.router().updates(myip="198.51.100.1,2001:db8::5")
    assert said(answer) == (200, b"nochg 198.51.100.1,2001:db8::5\n")
    assert told(service.host().updates("2001:db8::5")) == (200, record("unchanged", "2001:db8::5"))
    assert service.calls() == []


def test_after_a_restart_a_update_that_failed_is_still_wanted(serve: Serve) -> None:
    service = serve()
    service.sandbox.fail(503)
    service.host().updates("198.51.100.1")
    service.stop()
    service = serve()
    assert service.states() == {(HOME, "A"): ("198.51.100.1", "pending")}
    assert told(service.host().updates("198.51.100.1")) == (200, record("created", "198.51.100.1"))


def test_two_workers_never_answer_unchanged_wrongly(serve: Serve) -> None:
    one, two = serve(), serve()
    one.host().updates("198.51.100.1")
    for _ in range(5):
        for worker, ip in ((two, "198.51.100.2"), (one, "198.51.100.1")):
            assert told(worker.host().updates(ip)) == (200, record("updated", ip))
            assert one.sandbox.records(HOME, "A") == [ip]


def test_what_one_worker_did_the_other_knows(serve: Serve) -> None:
    one, two = serve(), serve()
    one.host().updates("198.51.100.1")
    one.calls()
    assert told(two.host().updates("198.51.100.1")) == (200, record("unchanged", "198.51.100.1"))
    assert two.calls() == []


def published_before(service: Service) -> Host:
    """A host whose address Hetzner had already, so that no action is running."""
    service.sandbox.publish(HOME, "A", "198.51.100.1")
    host = service.host()
    assert told(host.updates("198.51.100.1")) == (200, record("unchanged", "198.51.100.1"))
    service.calls()
    return host


def test_every_update_calls_hetzner_without_a_cache(serve: Serve) -> None:
    service = serve(REQUEST_CACHE_TTL="0")
    host = published_before(service)
    for _ in range(3):
        assert told(host.updates("198.51.100.1")) == (200, record("unchanged", "198.51.100.1"))
        assert service.calls() == [reading("home")]


def test_a_change_by_hand_is_put_back(serve: Serve) -> None:
    service = serve(REQUEST_CACHE_TTL="0")
    host = published_before(service)
    service.sandbox.publish(HOME, "A", "203.0.113.66")
    assert told(host.updates("198.51.100.1")) == (200, record("updated", "198.51.100.1"))
    assert service.calls() == [reading("home"), setting("home")]
    assert service.sandbox.records(HOME, "A") == ["198.51.100.1"]
    entry = service.rows("history")[-1]
    assert (entry["old"], entry["new"]) == ("203.0.113.66", "198.51.100.1")


def test_a_record_deleted_by_hand_is_put_back(serve: Serve) -> None:
    service = serve(REQUEST_CACHE_TTL="0")
    host = published_before(service)
    service.sandbox.publish(HOME, "A")
    assert told(host.updates("198.51.100.1")) == (200, record("created", "198.51.100.1"))


def test_a_manual_change_right_after_an_update_is_reverted(serve: Serve) -> None:
    service = serve(REQUEST_CACHE_TTL="0")
    host = service.host()
    host.updates("198.51.100.1")
    service.sandbox.publish(HOME, "A", "203.0.113.66")
    assert told(host.updates("198.51.100.1")) == (200, record("updated", "198.51.100.1"))


def test_a_manual_change_is_unnoticed_within_the_cache_time(service: Service, host: Host) -> None:
    host.updates("198.51.100.1")
    service.sandbox.publish(HOME, "A", "203.0.113.66")
    service.calls()
    assert told(host.updates("198.51.100.1")) == (200, record("unchanged", "198.51.100.1"))
    assert service.calls() == []


def test_a_check_that_fails_is_no_failure_of_the_host(serve: Serve) -> None:
    service = serve(REQUEST_CACHE_TTL="0")
    host = published_before(service)
    service.sandbox.fail(503, count=None)
    assert told(host.updates("198.51.100.1")) == (200, record("unchanged", "198.51.100.1"))
    assert said(service.router().updates(myip="198.51.100.1")) == (200, b"nochg 198.51.100.1\n")


def test_a_failed_check_is_not_repeated_at_once(serve: Serve) -> None:
    service = serve(REQUEST_CACHE_TTL="0")
    host = published_before(service)
    service.sandbox.fail(503)
    host.updates("198.51.100.1")
    service.calls()
    host.updates("198.51.100.1")
    assert service.calls() == []


def test_every_change_is_in_the_history(service: Service, host: Host, router: Router) -> None:
    host.updates("198.51.100.1")
    host.updates("198.51.100.1")
    router.updates(myip="198.51.100.2")
    host.leaves(type="A")
    told_of = ("host", "type", "event", "source", "protocol", "old", "new")
    entries = [tuple(row[name] for name in told_of) for row in service.rows("history")]
    source = "198.51.100.77"
    assert entries == [
        (HOME, "A", "created", source, "json", None, "198.51.100.1"),
        (HOME, "A", "replaced", source, "dyndns2", "198.51.100.1", "198.51.100.2"),
        (HOME, "A", "deleted", source, "json", "198.51.100.2", None),
    ]


def test_an_unchanged_update_writes_nothing_itself(service: Service, host: Host) -> None:
    host.updates("198.51.100.1")
    with closing(sqlite3.connect(str(service.database))) as connection:
        # A writer has to wait now, and would fail.
        connection.execute("begin immediate")
        answer = told(host.updates("198.51.100.1"))
    assert answer == (200, record("unchanged", "198.51.100.1"))


def test_a_worker_that_ends_stores_the_activity_of_hosts(serve: Serve) -> None:
    service = serve()
    service.host().updates("198.51.100.1")
    service.host().updates("198.51.100.1")
    service.stop()
    (row,) = service.rows("hosts")
    assert row["host"] == HOME
    assert row["seen_at"] > 0


def test_a_change_is_refused_while_the_store_is_read_only(
    service: Service, host: Host, router: Router
) -> None:
    host.updates("198.51.100.1")
    service.calls()
    with closing(sqlite3.connect(str(service.database))) as connection:
        connection.execute("begin immediate")
        assert refused(host.updates("198.51.100.2")) == (503, "unavailable")
        assert said(router.updates(myip="198.51.100.2")) == (503, b"911\n")
    assert service.calls() == []
    assert told(host.updates("198.51.100.2")) == (200, record("updated", "198.51.100.2"))


def test_without_a_store_the_answer_is_still_in_form(serve: Serve) -> None:
    service = serve()
    service.database.unlink()
    service.database.mkdir()
    assert refused(service.host().updates("198.51.100.1")) == (503, "unavailable")
    assert said(service.router().updates(myip="198.51.100.1")) == (503, b"911\n")
    assert service.calls() == []


def test_each_worker_lists_the_zones_once(serve: Serve) -> None:
    one, two = serve(), serve()
    one.host().updates("198.51.100.1")
    one.calls()
    two.host().updates("198.51.100.2")
    assert two.calls() == [LIST, setting("home")]


def test_a_header_that_changes_each_time_displaces_no_answer(
    router: Router, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(app, "_MAX_ANSWERS", 1)
    caplog.set_level(logging.DEBUG, "backend.web.app")
    for number in range(5):
        sent = {SENT_BYTES: SentBytes(b"%d" % number, closes=False)}
        query = {"hostname": router.name, "myip": "198.51.100.1"}
        assert router.asks("GET", query, environ_overrides=sent).status_code == 200
    assert caplog.text.count("/nic/update again: 200 OK") == 3
