"""Figures and health of several worker processes: one truth, whoever answers, whoever dies."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Dict, Iterator, List, Set, Tuple

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.processes import OPERATOR, Backend, Hetzner, run, until

RULES = Path(__file__).parents[2] / "docs" / "monitoring"
WORKERS = 3
REMEMBERED = 'dyndns_updates_total{face="json",outcome="remembered"}'


@pytest.fixture(scope="module")
def backend(hetzner: Hetzner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    folder = tmp_path_factory.mktemp("figures")
    backend = Backend(folder, hetzner, WEB_CONCURRENCY=str(WORKERS), THREADS="4")
    try:
        backend.start()
        yield backend
    finally:
        backend.stop()


def page(backend: Backend) -> str:
    """The figures as any worker tells them: each time by a connection of its own."""
    answer = requests.get(f"{backend.url}/metrics", auth=OPERATOR, timeout=20)
    assert answer.status_code == 200
    return answer.text


def figures(backend: Backend) -> Dict[str, float]:
    found = {}
    for family in text_string_to_metric_families(page(backend)):
        for sample in family.samples:
            labels = ",".join(f'{name}="{sample.labels[name]}"' for name in sorted(sample.labels))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def poll(backend: Backend, host: str, times: int) -> None:
    """Send an unchanged address again and again, each time by a connection of its own."""
    for _ in range(times):
        answer = requests.post(
            f"{backend.url}/update",
            json={"fqdn": host, "ip": "198.51.100.1"},
            headers={"X-Pre-Shared-Key": backend.key_of(host)},
            timeout=20,
        )
        assert answer.status_code == 200, answer.text


def folder_of(pid: int) -> Path:
    """The folder that the workers share."""
    links = (Path(os.readlink(link)) for link in Path(f"/proc/{pid}/fd").iterdir())
    return next(link.parent for link in links if link.suffix == ".slot")


def kill_one(backend: Backend) -> None:
    before = backend.workers()
    os.kill(before[0], signal.SIGKILL)

    def is_replaced() -> bool:
        now: Set[int] = set(backend.workers())
        return before[0] not in now and len(now) == WORKERS

    until(is_replaced, "another worker", lambda: backend.output)


def test_every_worker_tells_the_same_and_a_killed_one_takes_nothing_with_it(
    backend: Backend, host: str
) -> None:
    backend.updates(host, "198.51.100.1")
    start = figures(backend)[REMEMBERED]
    poll(backend, host, 40)
    assert {figures(backend)[REMEMBERED] for _ in range(10)} == {start + 40}
    kill_one(backend)
    assert {figures(backend)[REMEMBERED] for _ in range(10)} == {start + 40}
    poll(backend, host, 20)
    assert {figures(backend)[REMEMBERED] for _ in range(10)} == {start + 60}


def test_however_many_workers_die_their_files_are_no_more_than_a_few(backend: Backend) -> None:
    (pid, *_) = backend.workers()
    folder = folder_of(pid)
    for _ in range(6):
        kill_one(backend)
    assert figures(backend)[REMEMBERED] > 0
    files: List[str] = [path.name for path in folder.glob("*.db")]
    # A counter's and a histogram's file each; a new worker may come before the old one is gone.
    assert len(files) <= 2 * (WORKERS + 2)


def test_an_ill_worker_makes_the_service_ill_whoever_answers(backend: Backend) -> None:
    (pid, *_) = backend.workers()
    folder = folder_of(pid)
    until(lambda: len(list(folder.glob("*.note"))) >= WORKERS, "a note of each worker")

    def health() -> Tuple[int, str]:
        answer = requests.get(f"{backend.url}/healthz", timeout=20)
        return answer.status_code, answer.text

    def is_told() -> bool:
        # As that worker would write it; while it is well, it soon writes that.
        for note in folder.glob("*.note"):
            note.write_text(f"{time.monotonic()} reconciler hangs", encoding="utf-8")
        return health() == (503, "reconciler hangs\n")

    until(is_told, "the flaw to be told")
    until(lambda: health() == (200, "ok\n"), "all to be well again")


def test_the_figures_of_hetzner_are_those_of_the_last_answer(backend: Backend) -> None:
    until(lambda: "dyndns_hetzner_quota_remaining{" in page(backend), "a quota")
    until(lambda: 'dyndns_zone_undelegated{zone="example.com"} 0' in page(backend), "the zone")
    assert figures(backend)['dyndns_hetzner_quota_limit{limit="3600",project="1"}'] == 3600


def test_the_folder_is_gone_when_the_service_has_stopped(hetzner: Hetzner, tmp_path: Path) -> None:
    backend = Backend(tmp_path, hetzner)
    backend.start()
    (pid, *_) = backend.workers()
    folder = folder_of(pid)
    assert folder.exists()
    backend.stop()
    assert not folder.exists()


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
