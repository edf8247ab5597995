"""The content and destination of the log, and the secrets it must not contain."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Iterator

import pytest

from tests.e2e.processes import OPERATOR, TOKEN, Backend, Hetzner
from tests.e2e.updating import Updating
from tests.ports import free_port

LOG_FILE = "a folder/that is/not there/backend.log"


@pytest.fixture(scope="module")
def logged(hetzner: Hetzner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """Return a backend with debug logging to a file in a folder that doesn't exist yet.

    Its secrets come from files, its URLs contain logins, and NTFY_URL is unreachable.
    """
    folder = tmp_path_factory.mktemp("logged")
    secrets = {
        "HETZNER_TOKEN": TOKEN,
        "BASIC_AUTH_PASSWORD": OPERATOR[1],
        "NTFY_TOKEN": "tk_of_the_ntfy_server",
    }
    files = {f"{name}_FILE": str(folder / name.lower()) for name in secrets}
    for name, secret in secrets.items():
        (folder / name.lower()).write_text(f"{secret}\n", encoding="utf-8")
    with Backend(
        folder,
        hetzner,
        LOG_FILE=LOG_FILE,
        DEBUG_LOGGING="1",
        **dict.fromkeys(secrets, ""),
        **files,
        HETZNER_API_URL=hetzner.api_url.replace("//", "//me:login%2Dof-the-api@"),
        NTFY_URL=f"http://me:login%2Dof-ntfy@127.0.0.1:{free_port()}",
        NTFY_TOPIC="dyndns",
    ) as backend:
        yield backend


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
    logged.update(host, "198.51.100.2")
    assert statuses == [200, 401, 200, 401, 200, 404, 401]
    logged.wait_until(lambda: "No push gets through" in file_of(logged), "to miss ntfy")
    for text in (logged.output, file_of(logged)):
        assert "/nic/update -> 200" in text
        for secret in (wrong, TOKEN, OPERATOR[1], "pass=", "hostname=", "myip="):
            assert secret not in text
        for secret in ("tk_of_the_ntfy", "of-the-api", "of-ntfy"):
            assert secret not in text
        assert key not in text
        assert "/nic/update/… -> 404" in text


def test_both_workers_write_the_log_file(logged: Backend, hetzner: Hetzner, host: str) -> None:
    addresses = [f"198.51.100.{number}" for number in range(1, 41)]
    for ip in addresses:
        logged.update(host, ip)
    workers = logged.workers()
    assert len(workers) == 2
    for worker in workers:
        opened = [str(link.resolve()) for link in Path(f"/proc/{worker}/fd").iterdir()]
        assert str((logged.folder / LOG_FILE).resolve()) in opened
    text = file_of(logged)
    assert re.findall(rf"INFO {host} A: \S+ -> (\S+) ", text) == addresses
    # The lines of the workers are not mixed.
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
    backend.update(host, "198.51.100.1")
    backend.update(host, "198.51.100.1")
    assert f"{host} A: none -> 198.51.100.1" in backend.output
    assert "no change" not in backend.output


def test_each_event_is_one_line_at_level_info(hetzner: Hetzner, folder: Path, host: str) -> None:
    backend = Backend(folder, hetzner, REGISTERED_FQDNS=host)
    backend.start()
    for ip in ("198.51.100.1", "198.51.100.1", "198.51.100.2", "198.51.100.2"):
        backend.update(host, ip)
    hetzner.control("POST", "fail", status=423, code="protected", method="POST", count=1)
    for _ in range(2):
        query = {"hostname": host, "myip": "198.51.100.3"}
        key = backend.key_of(host)
        url = f"{backend.url}/nic/update"
        assert backend.session.get(url, params=query, auth=(host, key)).text == "dnserr\n"
        assert backend.session.get(url, params=query, auth=(host, "wrong")).text == "badauth\n"
    for _ in range(3):
        backend.update(host, "198.51.100.4")
    # Reported at once, or after the action has ended.
    backend.wait_until(lambda: "published after all" in backend.output, "to tell the end")
    backend.stop()
    story = [line.split(" ", 1)[1] for line in backend.output.splitlines()]
    by = "(requested by 127.0.0.1"
    expected = [
        f"INFO New keys in pre-shared-key for {host}.",
        "INFO hetzner-dyndns ",
        "INFO Dashboard: http://127.0.0.1:",
        "INFO Next, see what to enter into a device: ",
        f"INFO {host} A: none -> 198.51.100.1 {by}).",
        f"INFO {host} A: 198.51.100.1 -> 198.51.100.2 {by}).",
        f"ERROR {host} A can't be published. Hetzner refuses the call (protected, ",
        f"WARNING Failed login from 127.0.0.1 for {host}. If 127.0.0.1 is your own device, ",
        f"INFO {host} A: 198.51.100.2 -> 198.51.100.4 {by}).",
        f"INFO {host} A is published after all, ",
        "INFO hetzner-dyndns has stopped.",
    ]
    # Each worker may log its first wrong key.
    unique = [line for number, line in enumerate(story) if line not in story[:number]]
    assert len(unique) == len(expected), story
    assert [line for line, start in zip(unique, expected) if not line.startswith(start)] == []


def test_with_debug_logging_requests_and_hetzners_answers_are_logged(
    logged: Backend, host: str
) -> None:
    logged.update(host, "198.51.100.1")
    for line in (
        "DEBUG 127.0.0.1 POST /update -> 200",
        "DEBUG GET /zones/example.com/rrsets: 200",
        "DEBUG POST /zones/example.com/rrsets: 201",
    ):
        assert line in logged.output


def test_with_debug_logging_the_callers_address_is_logged(logged: Backend, host: str) -> None:
    for _ in range(8):  # both workers learn the answer
        logged.session.post(
            f"{logged.url}/update",
            json={"fqdn": host},
            headers={"X-Pre-Shared-Key": logged.key_of(host), "X-Real-Ip": "203.0.113.9"},
            timeout=20,
        ).raise_for_status()
    assert "DEBUG 203.0.113.9 POST /update -> 200" in logged.output
    assert "DEBUG 203.0.113.9 /update again: 200" in logged.output


def test_with_debug_logging_an_unchanged_update_is_logged(logged: Backend, host: str) -> None:
    logged.update(host, "198.51.100.1")
    logged.update(host, "198.51.100.1")
    assert f"{host} A: no change (cache)" in logged.output
