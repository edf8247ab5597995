"""Metrics and health of several workers agree, and survive the loss of a worker."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Iterator

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e import ailing
from tests.e2e.processes import OPERATOR, Backend, Hetzner, run, until

RULES = Path(__file__).parents[2] / "docs" / "monitoring"
WORKERS = 3
CACHED = 'dyndns_updates_total{outcome="cached",protocol="json"}'


@pytest.fixture(scope="module")
def backend(hetzner: Hetzner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    folder = tmp_path_factory.mktemp("figures")
    with Backend(folder, hetzner, WEB_CONCURRENCY=str(WORKERS), THREADS="4") as backend:
        yield backend


def page(backend: Backend) -> str:
    """Return the metrics page of any worker, over a new connection."""
    answer = requests.get(f"{backend.url}/metrics", auth=OPERATOR, timeout=20)
    assert answer.status_code == 200
    return answer.text


def figures(backend: Backend) -> dict[str, float]:
    found = {}
    for family in text_string_to_metric_families(page(backend)):
        for sample in family.samples:
            labels = ",".join(f'{name}="{sample.labels[name]}"' for name in sorted(sample.labels))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def poll(backend: Backend, host: str, times: int) -> None:
    """Send an unchanged address repeatedly, each time over a new connection."""
    for _ in range(times):
        answer = requests.post(
            f"{backend.url}/update",
            json={"fqdn": host, "ip": "198.51.100.1"},
            headers={"X-Pre-Shared-Key": backend.key_of(host)},
            timeout=20,
        )
        assert answer.status_code == 200, answer.text


def kill_one(backend: Backend) -> None:
    before = backend.workers()
    os.kill(before[0], signal.SIGKILL)

    def is_replaced() -> bool:
        now: set[int] = set(backend.workers())
        return before[0] not in now and len(now) == WORKERS

    until(is_replaced, "another worker", lambda: backend.output)


def test_workers_share_their_counters_and_survive_a_kill(backend: Backend, host: str) -> None:
    backend.update(host, "198.51.100.1")
    start = figures(backend)[CACHED]
    poll(backend, host, 40)
    assert {figures(backend)[CACHED] for _ in range(10)} == {start + 40}
    kill_one(backend)
    assert {figures(backend)[CACHED] for _ in range(10)} == {start + 40}
    poll(backend, host, 20)
    assert {figures(backend)[CACHED] for _ in range(10)} == {start + 60}


def test_counters_survive_the_loss_of_all_workers(backend: Backend, host: str) -> None:
    backend.update(host, "198.51.100.1")
    start = figures(backend)[CACHED]
    for _ in range(WORKERS):
        poll(backend, host, 2)
        kill_one(backend)
    assert {figures(backend)[CACHED] for _ in range(10)} == {start + WORKERS * 2}


def test_an_unhealthy_worker_makes_the_service_unhealthy(hetzner: Hetzner, tmp_path: Path) -> None:
    backend = Backend(tmp_path, hetzner, "tests.e2e.ailing", WEB_CONCURRENCY=str(WORKERS))

    def health() -> set[tuple[int, str]]:
        answers = [requests.get(f"{backend.url}/healthz", timeout=20) for _ in range(10)]
        return {(answer.status_code, answer.text) for answer in answers}

    backend.start()
    try:
        until(lambda: len(backend.workers()) == WORKERS, "all workers", lambda: backend.output)
        ill = backend.workers()[0]
        (tmp_path / ailing.ID_FILE).write_text(str(ill), encoding="utf-8")
        until(lambda: health() == {(503, "reconciler hangs\n")}, "the problem to be reported")
        os.kill(ill, signal.SIGKILL)
        until(lambda: health() == {(200, "ok\n")}, "all to be well again")
    finally:
        backend.stop()


def test_the_figures_of_hetzner_are_those_of_the_last_answer(backend: Backend) -> None:
    until(lambda: "dyndns_hetzner_quota_remaining{" in page(backend), "a quota")
    until(lambda: 'dyndns_zone_undelegated{zone="example.com"} 0' in page(backend), "the zone")
    assert figures(backend)['dyndns_hetzner_quota_limit{limit="3600",project="1"}'] == 3600


@pytest.mark.real("promtool")
def test_promtool_accepts_the_figures(backend: Backend, tmp_path: Path) -> None:
    (tmp_path / "metrics").write_text(page(backend), encoding="utf-8")
    ran = run(["sh", "-c", "promtool check metrics < metrics"], tmp_path)
    assert (ran.returncode, ran.stdout + ran.stderr) == (0, "")


@pytest.mark.real("promtool")
def test_promtool_accepts_the_rules_and_their_tests(tmp_path: Path) -> None:
    ran = run(["promtool", "check", "rules", str(RULES / "alerts.yml")], tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    ran = run(["promtool", "test", "rules", str(RULES / "alerts.test.yml")], tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
