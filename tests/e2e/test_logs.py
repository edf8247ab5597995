"""What the log of a running service holds, where it goes, and what must never be in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Iterator

import pytest

from tests.e2e.processes import OPERATOR, TOKEN, Backend, Hetzner
from tests.e2e.updating import Updating

LOG_FILE = "a folder/that is/not there/backend.log"


@pytest.fixture(scope="module")
def logged(hetzner: Hetzner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """A backend that logs all it can, to a file in a folder that isn't there yet."""
    folder = tmp_path_factory.mktemp("logged")
    backend = Backend(folder, hetzner, LOG_FILE=LOG_FILE, DEBUG_LOGGING="1")
    try:
        backend.start()
        yield backend
    finally:
        backend.stop()


def file_of(backend: Backend) -> str:
    return (backend.folder / LOG_FILE).read_text(encoding="utf-8")


def test_the_log_holds_no_key_and_no_query(logged: Backend, host: str) -> None:
    key = logged.key_of(host)
    get = logged.session.get
    query = {"hostname": host, "myip": "198.51.100.1"}
    wrong = "a-wrong-key-that-was-guessed"
    url = f"{logged.url}/nic/update"
    statuses = [
        get(url, params={**query, "user": host, "pass": key}, timeout=20).status_code,
        get(url, params={**query, "user": host, "pass": wrong}, timeout=20).status_code,
        get(url, params=query, auth=(host, key), timeout=20).status_code,
        get(url, params=query, auth=(host, wrong), timeout=20).status_code,
        get(url, params=query, auth=OPERATOR, timeout=20).status_code,
        get(f"{url}/{key}?pass={key}", timeout=20).status_code,
        logged.session.post(f"{logged.url}/update", json={"fqdn": 5, "key": key}).status_code,
    ]
    logged.updates(host, "198.51.100.2")
    assert statuses == [200, 401, 200, 401, 200, 404, 400]
    for text in (logged.output, file_of(logged)):
        assert "/nic/update -> 200" in text
        for secret in (wrong, TOKEN, OPERATOR[1], "pass=", "hostname=", "myip="):
            assert secret not in text
        assert key not in text
        assert "/nic/update/… -> 404" in text


def test_the_file_is_made_with_its_folders_and_written_by_both_workers(
    logged: Backend, hetzner: Hetzner, host: str
) -> None:
    addresses = [f"198.51.100.{number}" for number in range(1, 41)]
    for ip in addresses:
        logged.updates(host, ip)
    workers = logged.workers()
    assert len(workers) == 2
    for worker in workers:
        opened = [str(link.resolve()) for link in Path(f"/proc/{worker}/fd").iterdir()]
        assert str((logged.folder / LOG_FILE).resolve()) in opened
    text = file_of(logged)
    assert re.findall(rf"INFO {host} A: \S+ -> (\S+) ", text) == addresses
    # Neither worker has written into a line of the other's.
    assert [line for line in text.splitlines() if not re.match(r"\d{4}-\d\d-\d\dT", line)] == []
    hetzner.expect(host, addresses[-1])


def test_the_file_rotates_under_two_workers_without_losing_a_line(
    hetzner: Hetzner, folder: Path, host: str
) -> None:
    backend = Backend(
        folder, hetzner, LOG_FILE="rotating.log", LOG_MAX_BYTES="2000", LOG_BACKUP_COUNT="50"
    )
    backend.start()
    addresses = [f"198.51.100.{number}" for number in range(1, 61)]
    hosts = [host, "host58.example.com", "host59.example.com"]
    for number, ip in enumerate(addresses):
        running = [Updating(backend, name, ip) for name in hosts]
        assert [one.answer() for one in running] == [(200, "updated" if number else "created")] * 3
    backend.stop()
    files = sorted(folder.glob("rotating.log.[0-9]*"), key=lambda file: -int(file.suffix[1:]))
    assert len(files) > 2
    text = "".join(file.read_text() for file in [*files, folder / "rotating.log"])
    for name in hosts:
        assert re.findall(rf"INFO {name} A: \S+ -> (\S+) ", text) == addresses


def test_without_debug_logging_an_unchanged_update_is_not_logged(
    backend: Backend, host: str
) -> None:
    backend.updates(host, "198.51.100.1")
    backend.updates(host, "198.51.100.1")
    assert f"{host} A: none -> 198.51.100.1" in backend.output
    assert "no change" not in backend.output


def test_with_debug_logging_an_unchanged_update_is_logged(logged: Backend, host: str) -> None:
    logged.updates(host, "198.51.100.1")
    logged.updates(host, "198.51.100.1")
    assert f"{host} A: no change (cache)" in logged.output
