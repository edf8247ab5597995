"""Hosts that the operator adds, renames, removes and sets up while the service runs."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any, Iterator, Mapping, Sequence

import pytest
from jsonschema import Draft202012Validator
from werkzeug.test import TestResponse

from backend import cli
from backend.auth import registry
from backend.auth.keys import KeyFile
from backend.auth.registry import Registry, StoredKeys
from backend.errors import KeyFileUnusable, StoreUnavailable
from backend.model import Hostname, Requester
from backend.settings import StoreSettings
from backend.store import Store
from backend.store.pushes import WaitingPush
from backend.store.records import Accepted
from backend.store.registrations import Registrations
from sandbox import Sandbox
from tests.http.conftest import Console, Serve
from tests.http.operator import PLACE, Operator, words
from tests.http.service import HOME, HOSTS, Service, basic, key_of, record, said, told

DRAFT = "https://json-schema.org/draft/2020-12/schema"
NEW, OTHER = "new.example.com", "other.example.com"


class Shell:
    """Runs commands beside a service, as another process does."""

    def __init__(self, service: Service, capture: pytest.CaptureFixture[str]) -> None:
        self.service = service
        self.store = Store(f"sqlite:///{service.database}")
        self._capture = capture

    def types(self, *words: str) -> tuple[int, str]:
        """Run a command; return its exit status and its output. The service hears of it."""
        try:
            status = cli.run(list(words), self.service._environ)  # noqa: SLF001
        except SystemExit as ended:
            status = int(str(ended.code))
        self.service.runs("registered hosts")
        captured = self._capture.readouterr()
        return status, captured.out + captured.err

    def adds(self, *names: str) -> str:
        status, output = self.types("hosts", "add", *names)
        assert status == 0, output
        return output

    @property
    def keys(self) -> Mapping[str, str]:
        """The keys in the key file, by host."""
        return {host.text: key for host, key in KeyFile(self.service.key_file).read().items()}

    @property
    def stored_keys(self) -> Mapping[str, str]:
        """The keys in the store, by host."""
        return {row["host"]: row["key"] for row in self.service.rows("keys")}

    def update(self, name: str, address: str, key: str | None = None) -> tuple[int, Any]:
        """Send an update with the host's own key, or with another one."""
        headers = {"X-Pre-Shared-Key": key or self.keys[name]}
        body = {"fqdn": name, "ip": address}
        return told(self.service.asks("POST", "/update", json=body, headers=headers))

    def history(self, name: str) -> list[str]:
        rows = self.service.rows("history")
        return [row["event"] for row in rows if row["host"] == name]

    def goes_on(self, *, is_known: bool = True) -> None:
        """Run background jobs until removed hosts are forgotten, or only until nothing is due.

        With `is_known`, all processes have known of the removals for long enough.
        """
        for _ in range(200):
            self.service.runs("reconciler")
            self.changes_store("update records set poll_action_at = 1, retry_at = 1")
            if is_known:
                self.changes_store("update hosts set unregistered_at = 1 where leaving is not null")
            self.service.runs("removed hosts")
            leaving = [row for row in self.service.rows("hosts") if row["leaving"]]
            states = {row["state"] for row in self.service.rows("records")}
            if states <= {"published"} and not (leaving and is_known):
                return
            time.sleep(0.05)
        raise AssertionError(f"still to do: {leaving} {states}")

    def changes_store(self, statement: str) -> None:
        with contextlib.closing(sqlite3.connect(str(self.service.database))) as store, store:
            store.execute(statement)


@pytest.fixture
def shell(service: Service, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    os.utime(service.key_file, (0, 0))
    shell = Shell(service, capsys)
    yield shell
    shell.store.close()


def published(sandbox: Sandbox, name: str) -> Sequence[str]:
    zone, owner = sandbox.zones.zone_of(name)
    rrset = zone.rrsets.get((owner, "A"))
    return [] if rrset is None else [one.value for one in rrset.records]


def test_an_added_host_can_be_updated_at_once(shell: Shell, sandbox: Sandbox) -> None:
    output = shell.adds(NEW)
    assert "no address yet" in output
    assert f"setup {NEW}" in output
    assert shell.update(NEW, "198.51.100.9") == (200, record("created", "198.51.100.9", NEW))
    assert published(sandbox, NEW) == ["198.51.100.9"]
    assert shell.history(NEW) == ["added", "created"]


def test_an_unchanged_update_is_answered_from_memory_after_a_host_is_added(shell: Shell) -> None:
    home = shell.service.host()
    home.updates("198.51.100.1")
    shell.adds(NEW)
    shell.service.sandbox.clear_calls()
    assert told(home.updates("198.51.100.1")) == (200, record("unchanged", "198.51.100.1"))
    assert shell.service.calls() == []


def test_a_page_shows_a_host_that_another_process_has_just_added(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["hosts", "add", NEW], service._environ) == 0  # noqa: SLF001
    capsys.readouterr()
    assert "Waiting for the first update" in Operator(service).sees(f"/hosts/{NEW}")


BAD = {
    "a name without a zone": (["nas.example.invalid"], "No zone for nas.example.invalid"),
    "not a host name": (["under_score.example.com"], "Not a full host name"),
    "a single label": (["nas"], "Not a full host name"),
    "a URL": (["https://nas.example.com/"], "Not a full host name"),
    "a registered host": ([HOME], "registered already"),
    "one bad name of two": ([NEW, "nas.example.invalid"], "No zone for nas.example.invalid"),
    "a registered host in another spelling": ([f"{HOME.upper()}."], "registered already"),
    "nothing": ([","], "Nothing was changed: there is no host name"),
}


@pytest.mark.parametrize(("names", "problem"), BAD.values(), ids=list(BAD))
def test_a_host_that_can_not_be_added_adds_none(
    shell: Shell, names: list[str], problem: str
) -> None:
    before = shell.service.key_file.read_text()
    status, output = shell.types("hosts", "add", *names)
    assert status == 1
    assert problem in output
    assert shell.service.key_file.read_text() == before
    assert shell.types("hosts", "list", NEW)[0] == 1


def test_a_name_twice_a_wildcard_and_an_idn_are_added(shell: Shell) -> None:
    output = shell.adds(f"{NEW},{NEW.upper()}", f"{NEW}.", f"*.{NEW}", "größe.new.example.com")
    assert "Added 3 hosts." in output
    assert {NEW, f"*.{NEW}", "xn--gre-6ka8i.new.example.com"} <= set(shell.keys)
    assert shell.update(f"*.{NEW}", "198.51.100.9")[0] == 200


def test_many_names_are_added_with_few_calls(
    shell: Shell, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"name": "host321", "type": "A", "records": [{"value": "198.51.100.3"}]}
    console.changes("POST", "/zones/example.com/rrsets", values)
    names = [f"host{number}.example.com" for number in range(500)]
    monkeypatch.setattr("sys.stdin", io.StringIO("# all\n" + "\n".join(names)))
    shell.service.sandbox.clear_calls()
    output = shell.adds("-")
    assert "Added 500 hosts" in output
    assert "ok     host321.example.com  The records are in zone example.com: now A 1" in output
    assert output.count("\n") < 10
    assert len(shell.service.calls()) < 10
    assert shell.update(names[499], "198.51.100.9")[0] == 200


def test_adding_hosts_waits_for_a_hanging_hetzner_only_once(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.admin.checks._SECONDS", 0.5)
    shell.service.sandbox.delay(30)
    shell.service.sandbox.clear_calls()
    names = [NEW, OTHER, "third.example.com"]
    assert shell.adds(*names).count("The host can't be checked now") == len(names)
    assert len(shell.service.calls()) == 1


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"type": "CNAME", "records": [{"value": "www.example.com."}]}, "has a CNAME record"),
        ({"type": "A", "records": [{"value": "198.51.100.3"}]}, "now A 198.51.100.3"),
        (
            {"type": "A", "records": [{"value": "198.51.100.3"}, {"value": "198.51.100.4"}]},
            "several A records",
        ),
    ],
)
def test_the_records_at_the_name_are_told(
    shell: Shell, console: Console, value: dict[str, Any], found: str
) -> None:
    console.changes("POST", "/zones/example.com/rrsets", {"name": "new", **value})
    status, output = shell.types("hosts", "add", NEW)
    assert found in output
    assert status == (1 if "CNAME" in found else 0)


def test_a_host_is_added_while_hetzner_is_away(shell: Shell, sandbox: Sandbox) -> None:
    sandbox.fail(503, count=20)
    assert "The host can't be checked now: Hetzner is busy" in shell.adds(NEW)
    assert NEW in shell.keys


def test_a_rename_moves_records_key_and_history(shell: Shell, sandbox: Sandbox) -> None:
    shell.adds(NEW)
    shell.update(NEW, "198.51.100.9")
    key = shell.keys[NEW]
    shell.types("hosts", "set", NEW, "--note", "in the attic")
    sandbox.fail(503, path="/zones/example.com/rrsets", count=1)
    assert shell.types("hosts", "rename", NEW, OTHER)[0] == 0
    assert shell.keys.get(NEW) is None
    assert shell.keys[OTHER] == key
    shell.service.runs("reconciler")  # the new record can't be created yet
    assert published(sandbox, NEW) == ["198.51.100.9"]
    shell.goes_on()
    assert published(sandbox, OTHER) == ["198.51.100.9"]
    assert published(sandbox, NEW) == []
    assert shell.history(OTHER)[:2] == ["added", "created"]
    assert "renamed" in shell.history(OTHER)
    assert "in the attic" in shell.types("hosts", OTHER)[1]
    assert shell.update(OTHER, "198.51.100.9", key)[1]["status"] == "unchanged"
    assert shell.update(NEW, "198.51.100.9", key)[0] == 401
    assert [row for row in shell.service.rows("hosts") if row["host"] == NEW] == []


def test_a_renamed_host_can_be_named_as_before_again(shell: Shell, sandbox: Sandbox) -> None:
    shell.adds(NEW)
    shell.update(NEW, "198.51.100.9")
    key = shell.keys[NEW]
    shell.types("hosts", "rename", NEW, OTHER)
    assert shell.types("hosts", "rename", OTHER, NEW)[0] == 0
    shell.goes_on()
    assert (published(sandbox, NEW), published(sandbox, OTHER)) == (["198.51.100.9"], [])
    assert shell.update(NEW, "198.51.100.10", key)[0] == 200


def test_a_record_stays_until_that_of_the_last_new_name_is_published(
    shell: Shell, sandbox: Sandbox
) -> None:
    shell.adds(NEW)
    shell.update(NEW, "198.51.100.9")
    sandbox.fail(503, count=None, method="POST")
    shell.types("hosts", "rename", NEW, OTHER)
    shell.types("hosts", "rename", OTHER, "third.example.com")
    shell.changes_store("update records set retry_at = 1")
    shell.service.runs("reconciler")
    assert published(sandbox, NEW) == ["198.51.100.9"]
    sandbox.fail_no_more()
    shell.goes_on()
    names = (NEW, OTHER, "third.example.com")
    assert [published(sandbox, name) for name in names] == [[], [], ["198.51.100.9"]]


@pytest.mark.parametrize("choice", ["--keep-records", "--delete-records"])
def test_a_removed_host_has_no_key_and_its_records_stay_or_go(
    shell: Shell, sandbox: Sandbox, choice: str
) -> None:
    shell.adds(NEW)
    shell.update(NEW, "198.51.100.9")
    key = shell.keys[NEW]
    assert shell.types("hosts", "remove", NEW, choice)[0] == 0
    assert shell.update(NEW, "198.51.100.10", key)[0] == 401
    assert NEW not in shell.keys
    shell.goes_on()
    kept = ["198.51.100.9"] if choice == "--keep-records" else []
    assert published(sandbox, NEW) == kept
    deleted = [row for row in shell.service.rows("history") if row["event"] == "deleted"]
    by_operator = [("command", "requested by the operator")]
    assert [(row["protocol"], row["why"]) for row in deleted] == ([] if kept else by_operator)
    assert [row for row in shell.service.rows("hosts") if row["host"] == NEW] == []
    assert [row for row in shell.service.rows("records") if row["host"] == NEW] == []
    shell.adds(NEW)
    assert shell.keys[NEW] != key


def test_a_removed_host_is_forgotten_after_the_clock_was_set_back(shell: Shell) -> None:
    shell.adds(NEW)
    shell.types("hosts", "remove", NEW, "--keep-records")
    shell.changes_store("update hosts set unregistered_at = unregistered_at + 90000")
    shell.service.runs("removed hosts")
    assert [row for row in shell.service.rows("hosts") if row["host"] == NEW] == []


def test_a_removed_host_is_not_reported_as_lost(shell: Shell) -> None:
    shell.adds(NEW)
    store = shell.store
    store.pushes.add(WaitingPush("lost", NEW, "contact", True, 1, 10**11, "{}"), 1)
    shell.types("hosts", "remove", NEW, "--keep-records")
    assert shell.service.rows("pushes") == []


def test_an_update_just_after_the_removal_is_undone(shell: Shell, sandbox: Sandbox) -> None:
    shell.adds(NEW)
    shell.update(NEW, "198.51.100.9")
    shell.types("hosts", "remove", NEW, "--delete-records")
    # Another replica, which doesn't know of the removal yet, stores an update.
    shell.changes_store(
        "update records set desired = '198.51.100.10', generation = generation + 1, "
        "state = 'pending' where host = 'new.example.com'"
    )
    shell.goes_on(is_known=False)
    assert [row["leaving"] for row in shell.service.rows("hosts") if row["host"] == NEW] == [
        "delete"
    ]
    shell.goes_on()
    assert published(sandbox, NEW) == []


@pytest.mark.parametrize("task", [["rename", HOME, NEW], ["remove", HOME, "--keep-records"]])
def test_a_host_of_the_settings_is_changed_there(shell: Shell, task: list[str]) -> None:
    status, output = shell.types("hosts", *task)
    assert status == 1
    assert f"{HOME} comes from REGISTERED_FQDNS: {task[0]} it there." in output


def test_a_host_has_its_own_ttl_interface_id_and_time_of_silence(
    shell: Shell, console: Console
) -> None:
    shell.adds(NEW)
    shell.update(NEW, "198.51.100.9")
    options = ["--ttl", "300", "--interface-id", "::11:22", "--lost-after", "3d"]
    told = f"Settings of {NEW}: lost after: 3 d, TTL: 300 s, host part: ::11:22."
    assert shell.types("hosts", "set", NEW, *options) == (0, f"{told}\n")
    assert shell.update(NEW, "198.51.100.9")[0] == 200
    assert console.shows(NEW)["ttl"] == 300
    assert shell.update(NEW, "2001:db8:1:2::/64")[1]["ip"] == "2001:db8:1:2::11:22"
    assert [row["lost_after"] for row in shell.service.rows("hosts") if row["host"] == NEW] == [
        3 * 86400
    ]
    assert "3 d" in shell.types("hosts", NEW)[1]
    assert shell.types("hosts", "set", NEW, "--ttl", "default")[0] == 0
    assert "TTL" not in shell.types("hosts", NEW)[1]


@pytest.mark.parametrize(
    "option",
    [
        ["--ttl", "59"],
        ["--ttl", "9" * 5000],
        ["--ttl", "an hour"],
        ["--interface-id", "2001:db8::1"],
        ["--lost-after", "soon"],
        ["--note", "x" * 201],
        [],
    ],
)
def test_a_wrong_setting_changes_nothing(shell: Shell, option: list[str]) -> None:
    shell.adds(NEW)
    before = shell.service.rows("hosts")
    assert shell.types("hosts", "set", NEW, *option)[0] == 1
    assert shell.service.rows("hosts") == before


def test_a_changed_file_of_hosts_counts_without_a_restart(
    serve: Serve, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "hosts"
    file.write_text(f"{HOME}\n")
    shell = Shell(serve(REGISTERED_FQDNS="", REGISTERED_FQDNS_FILE=str(file)), capsys)
    file.write_text(f"{HOME}, {NEW}\n")
    shell.service.runs("registered hosts")
    assert NEW not in shell.keys  # an editor may still write the file
    os.utime(file, (1, 1))
    shell.service.runs("registered hosts")
    assert shell.update(NEW, "198.51.100.9")[0] == 200
    for content in ("", "not_a_host\n"):
        file.write_text(content)
        os.utime(file, (2, len(content)))
        shell.service.runs("registered hosts")
        assert shell.update(NEW, "198.51.100.9")[0] == 200
    file.write_text(f"{HOME}\n")
    os.utime(file, (3, 3))
    shell.service.runs("registered hosts")
    assert shell.update(NEW, "198.51.100.9")[0] == 401
    assert Hostname(NEW).text in shell.keys  # existing lines never change


def test_a_file_of_hosts_waits_for_the_key_file_and_says_so_once(
    serve: Serve,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    file = tmp_path / "hosts"
    file.write_text(f"{HOME}\n")
    shell = Shell(serve(REGISTERED_FQDNS="", REGISTERED_FQDNS_FILE=str(file)), capsys)

    def refuse(*_: object) -> None:
        raise KeyFileUnusable("Read-only file system")

    for number in (1, 2):
        file.write_text(f"{HOME}\n{NEW}\n")
        os.utime(file, (1, number))
        with monkeypatch.context() as patch:
            patch.setattr(KeyFile, "complete", refuse)
            for _ in range(3):
                shell.service.runs("registered hosts")
        assert caplog.text.count("isn't used: Read-only file system") == number
        shell.service.runs("registered hosts")
        assert shell.update(NEW, "198.51.100.9")[0] == 200
        file.write_text(f"{HOME}\n")
        os.utime(file, (2, number))
        shell.service.runs("registered hosts")


def test_a_pipe_in_place_of_the_file_of_hosts_is_not_read(
    serve: Serve, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "hosts"
    file.write_text(f"{HOME}\n")
    shell = Shell(serve(REGISTERED_FQDNS="", REGISTERED_FQDNS_FILE=str(file)), capsys)
    file.unlink()
    os.mkfifo(file)
    os.utime(file, (1, 1))
    job = threading.Thread(target=shell.service.runs, args=["registered hosts"], daemon=True)
    job.start()
    job.join(10)
    assert not job.is_alive()
    assert shell.update(HOME, "198.51.100.9")[0] == 200


def test_a_failed_login_waits_for_no_file_and_no_other_thread(
    serve: Serve,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "hosts"
    file.write_text(f"{HOME}\n")
    shell = Shell(serve(REGISTERED_FQDNS="", REGISTERED_FQDNS_FILE=str(file)), capsys)
    file.write_text(f"{HOME}\n{NEW}\n")
    os.utime(file, (1, 1))
    hangs, goes_on = threading.Event(), threading.Event()

    def hang(_file: Path) -> Sequence[Hostname]:
        hangs.set()
        goes_on.wait(30)
        return [Hostname(HOME)]

    monkeypatch.setattr(registry, "hosts_in", hang)
    assert shell.update(HOME, "198.51.100.9", "wrong")[0] == 401
    assert not hangs.is_set()
    job = threading.Thread(target=shell.service.runs, args=["registered hosts"])
    job.start()
    assert hangs.wait(10)
    answers: list[int] = []
    login = threading.Thread(
        target=lambda: answers.append(shell.update(HOME, "198.51.100.9", "wrong")[0]), daemon=True
    )
    login.start()
    login.join(10)
    goes_on.set()
    job.join(10)
    assert answers == [401]


class Killed(BaseException):
    """Ends a command between two of its steps, as a kill does."""


STEPS = {
    "add: the store": (["add", OTHER], Registrations, "add"),
    "add: the key": (["add", OTHER], KeyFile, "complete"),
    "rename: the store": (["rename", NEW, OTHER], Registrations, "rename"),
    "rename: the key": (["rename", NEW, OTHER], KeyFile, "move"),
    "remove: the store": (["remove", NEW, "--delete-records"], Registrations, "remove"),
    "remove: the key": (["remove", NEW, "--delete-records"], KeyFile, "move"),
}


@pytest.mark.parametrize(("words", "kind", "step"), STEPS.values(), ids=list(STEPS))
def test_a_killed_command_leaves_a_state_that_heals(  # noqa: PLR0913, PLR0917
    shell: Shell,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    kind: type,
    step: str,
) -> None:
    shell.adds(NEW)
    shell.update(NEW, "198.51.100.9")
    key = shell.keys[NEW]

    def die(*_: object, **_options: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(kind, step, die)
        with pytest.raises(Killed):
            shell.types("hosts", *words)
    shell.service.runs("registered hosts")
    shell.goes_on()
    works = {name for name in (NEW, OTHER) if shell.update(name, "198.51.100.9", key)[0] == 200}
    begun = kind is KeyFile
    expected = {"add": {NEW}, "rename": {OTHER}, "remove": set()}[words[0]] if begun else {NEW}
    assert works == expected
    if words[0] == "add" and begun:  # the service makes the key
        assert shell.update(OTHER, "198.51.100.9", shell.keys[OTHER])[0] == 200
        expected = {NEW, OTHER}
    shell.goes_on()
    assert {name for name in (NEW, OTHER) if published(sandbox, name)} == expected
    if not begun:  # the same command succeeds now
        assert shell.types("hosts", *words)[0] == 0


@pytest.mark.parametrize("task", [["add", NEW], ["rename", "third", NEW]])
def test_a_name_is_used_again_after_its_rename_was_killed(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, task: list[str]
) -> None:
    shell.adds(NEW, "third.example.com")
    key = shell.keys[NEW]

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(KeyFile, "move", die)
        with pytest.raises(Killed):
            shell.types("hosts", "rename", NEW, OTHER)
    shell.types("hosts", *task)
    assert shell.keys[OTHER] == key  # which is in its device
    assert shell.keys.get(NEW) != key


def test_two_operators_add_the_same_host(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.adds(OTHER)
    monkeypatch.setattr(Registry, "__contains__", lambda *_: False)  # it isn't known yet
    keys = dict(shell.keys)
    status, output = shell.types("hosts", "add", NEW, OTHER)
    assert status == 1
    assert f"{OTHER} is registered already." in output
    assert NEW not in {row["host"] for row in shell.service.rows("hosts")}
    assert shell.keys[OTHER] == keys[OTHER]


def test_a_key_file_that_can_not_be_written_adds_nothing(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell.adds(OTHER)
    before = shell.service.rows("hosts")
    open_file = os.open

    def refuse(path: str, flags: int, *more: int) -> int:
        if flags & (os.O_RDWR | os.O_WRONLY):
            raise OSError(errno.EROFS, "Read-only file system")
        return open_file(path, flags, *more)

    monkeypatch.setattr("backend.auth.keys.os.open", refuse)
    for task in (["add", NEW], ["rename", OTHER, NEW], ["remove", OTHER, "--keep-records"]):
        status, output = shell.types("hosts", *task)
        assert status == 1
        assert "mount it writable" in output
        assert shell.service.rows("hosts") == before


@pytest.mark.parametrize("is_deleted", [False, True])
def test_a_key_file_without_its_keys_is_not_completed(shell: Shell, *, is_deleted: bool) -> None:
    shell.adds(NEW)
    key, file, before = shell.keys[NEW], shell.service.key_file, shell.service.key_file.read_text()
    assert shell.update(NEW, "198.51.100.9", key)[0] == 200
    if is_deleted:
        file.unlink()
    else:
        file.write_text("")
        os.utime(file, (1, 1))
    for command in (
        ["hosts", "add", OTHER],
        ["keys", "rotate", NEW],
        ["hosts", "rename", NEW, OTHER],
    ):
        status, output = shell.types(*command)
        assert status == 1
        assert "restore" in output
    with pytest.raises(KeyFileUnusable, match="restore"):
        # As for a changed REGISTERED_FQDNS_FILE.
        shell.service._services.keys.complete([Hostname(OTHER)])  # noqa: SLF001
    assert not file.exists() or not file.read_text()
    assert shell.update(NEW, "198.51.100.10", key)[0] == 200
    file.write_text(before)
    shell.adds(OTHER)
    assert shell.update(NEW, "198.51.100.11", key)[0] == 200


def test_a_full_disk_adds_nothing(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("backend.auth.keys.os.pwrite", refuse)
        status, output = shell.types("hosts", "add", NEW)
    assert status == 1
    assert "free space on its disk" in output
    assert shell.types("hosts", "list", NEW)[0] == 1
    shell.adds(NEW)
    assert shell.update(NEW, "198.51.100.9")[0] == 200


def test_a_store_that_is_away_adds_nothing(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise StoreUnavailable("The store can't be used right now.")

    monkeypatch.setattr(Registrations, "add", refuse)
    status, output = shell.types("hosts", "add", NEW)
    assert status == 1
    assert "The store can't be used right now" in output
    assert NEW not in {row["host"] for row in shell.service.rows("hosts")}


BY = Requester("", "command")


def test_a_worker_that_knows_nothing_of_a_removal_keeps_no_host(shell: Shell) -> None:
    shell.adds(NEW)
    key = shell.keys[NEW]
    store = shell.store
    now = time.time()
    store.registrations.remove(Hostname(NEW), delete_records=True, operator=BY, now=now)
    store.hosts.extend_registrations([Hostname(NEW)], now)
    shell.service.sandbox.clear_calls()
    # Its keys and its list of hosts are from before, too.
    address = {"hostname": NEW, "myip": "198.51.100.10"}
    login = {"Authorization": basic(NEW, key)}
    answer = shell.service.asks("GET", "/nic/update", query_string=address, headers=login)
    assert said(answer) == (404, b"nohost\n")
    assert shell.service.calls() == []
    assert shell.types("hosts", "add", NEW)[0] == 0


def test_a_late_deletion_does_not_count_for_a_host_that_is_added_again(
    shell: Shell, sandbox: Sandbox
) -> None:
    shell.adds(NEW)
    shell.update(NEW, "198.51.100.9")
    shell.types("hosts", "remove", NEW, "--delete-records")
    (record,) = shell.store.records.of(Hostname(NEW)).values()
    shell.adds(NEW)
    shell.update(NEW, "198.51.100.10")
    shell.update(NEW, "198.51.100.11")
    store = shell.store
    store.records.note(Accepted(record), time.time())  # the answer of Hetzner to the deletion
    shell.goes_on()
    assert shell.update(NEW, "198.51.100.11")[0] == 200
    assert published(sandbox, NEW) == ["198.51.100.11"]


@pytest.mark.parametrize(
    "words", [["rename", NEW, "third.example.com"], ["set", NEW, "--ttl", "60"]]
)
def test_a_removed_host_is_neither_renamed_nor_changed(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    shell.adds(NEW)
    shell.types("hosts", "rename", NEW, OTHER)
    names = frozenset(map(Hostname, (NEW, OTHER)))
    monkeypatch.setattr(Registry, "__contains__", lambda _, host: host in names)
    status, output = shell.types("hosts", *words)
    assert status == 1
    assert f"{NEW} isn't registered" in output


def test_a_host_that_is_added_again_has_no_old_settings(shell: Shell) -> None:
    shell.adds(NEW)
    shell.types("hosts", "set", NEW, "--ttl", "60", "--note", "in the attic")
    shell.types("hosts", "mute", NEW, "3d")
    shell.types("hosts", "remove", NEW, "--keep-records")
    shell.adds(NEW)
    (row,) = (row for row in shell.service.rows("hosts") if row["host"] == NEW)
    assert (row["ttl"], row["note"], row["muted_until"]) == (None, "", None)


class TestKeysInTheStore:
    """With PostgreSQL, all replicas share the keys. SQLite stands in for it here."""

    @pytest.fixture
    def replicas(
        self, serve: Serve, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> Iterator[tuple[Shell, Shell]]:
        monkeypatch.setattr(StoreSettings, "is_shared", True)
        one, other = serve(), serve(PRE_SHARED_KEY_FILE="none")
        shells = Shell(one, capsys), Shell(other, capsys)
        keys = StoredKeys(shells[0].store.registrations, one.key_file)
        keys.complete(map(Hostname, (*HOSTS, "late.example.com")))
        for service in (one, other):
            service.runs("registered hosts")
        yield shells
        for shell in shells:
            shell.store.close()

    def test_a_key_file_is_imported(self, replicas: tuple[Shell, Shell]) -> None:
        for replica in replicas:
            assert replica.update(HOME, "198.51.100.1", key_of(HOME))[0] == 200

    def test_a_host_added_on_one_works_on_all(self, replicas: tuple[Shell, Shell]) -> None:
        one, other = replicas
        one.adds(NEW)
        _, output = one.types("setup", NEW, "--for", "curl")
        (key,) = {key for key in one.stored_keys.values() if key in output}
        # The other replica asks the store when a login fails.
        assert other.update(NEW, "198.51.100.9", key)[0] == 200

    def test_a_removed_key_is_not_imported_again(self, replicas: tuple[Shell, Shell]) -> None:
        one, _ = replicas
        old = key_of("late.example.com")
        with one.service.key_file.open("a") as file:
            file.write(f"late.example.com {old}\n")
        one.adds("late.example.com")
        first = one.stored_keys["late.example.com"]
        one.types("hosts", "remove", "late", "--keep-records")
        one.adds("late.example.com")
        assert one.stored_keys["late.example.com"] not in ("", first, old)

    def test_a_rotated_or_removed_key_ends_on_all(self, replicas: tuple[Shell, Shell]) -> None:
        one, other = replicas
        status, output = one.types("keys", "rotate", HOME)
        assert status == 0
        other.service.runs("registered hosts")
        assert other.update(HOME, "198.51.100.1", key_of(HOME))[0] == 401
        assert other.update(HOME, "198.51.100.1", output.split()[-1])[0] == 200
        one.adds(NEW)
        key = one.stored_keys[NEW]
        assert one.types("hosts", "rename", NEW, OTHER)[0] == 0
        assert one.stored_keys[OTHER] == key
        assert one.types("hosts", "remove", OTHER, "--keep-records")[0] == 0
        assert not one.stored_keys[OTHER]
        other.service.runs("registered hosts")
        assert other.update(OTHER, "198.51.100.1", key)[0] == 401


class TestForms:
    """The operator adds, renames, removes and sets up hosts on the dashboard."""

    @pytest.fixture
    def operator(self, service: Service) -> Operator:
        os.utime(service.key_file, (0, 0))
        return Operator(service)

    def adds(self, operator: Operator, names: str) -> TestResponse:
        form = operator.form(operator.sees("/add"), "/add")
        return operator.asks("POST", "/add", {**form, "names": names}, headers={"Origin": PLACE})

    def test_an_added_host_leads_to_its_set_up(self, operator: Operator) -> None:
        answer = self.adds(operator, NEW)
        assert answer.status_code == 303
        assert answer.headers["Location"] == f"/hosts/{NEW}#setup"
        page = words(operator.follows(answer))
        assert f"{NEW} was added. Enter the settings below into its device." in page
        assert "Waiting for the first update" in page

    def test_a_pasted_list_is_added_whole(self, operator: Operator, service: Service) -> None:
        names = "\r\n".join(f"a-rather-long-name-of-host{n}.example.com" for n in range(500))
        answer = self.adds(operator, f"# all\r\n{names} # the last")
        assert answer.headers["Location"] == "/"
        assert "The hosts were added." in words(operator.follows(answer))
        assert len([row for row in service.rows("hosts") if row["is_added"]]) == 500

    def test_a_list_that_is_too_long_is_refused_with_a_hint(
        self, operator: Operator, service: Service
    ) -> None:
        answer = self.adds(operator, "\n".join(f"host{n}.example.com" for n in range(5000)))
        assert answer.status_code == 413
        assert "add fewer hosts at a time" in words(answer.text)
        assert [row for row in service.rows("hosts") if row["is_added"]] == []

    def test_a_wrong_list_is_shown_again_with_its_faults(
        self, operator: Operator, service: Service
    ) -> None:
        answer = self.adds(operator, f"{NEW}\nnas.example.invalid\n<b>.example.com")
        assert answer.status_code == 400
        page = words(answer.text)
        assert "No host was added." in page
        assert "Not a full host name" in page
        assert f"{NEW}\nnas.example.invalid\n&lt;b&gt;.example.com" in answer.text
        assert [row for row in service.rows("hosts") if row["is_added"]] == []

    def test_findings_are_shown_before_the_set_up(
        self, operator: Operator, console: Console
    ) -> None:
        values = {"records": [{"value": "198.51.100.3"}, {"value": "198.51.100.4"}]}
        console.changes("POST", "/zones/example.com/rrsets", {"name": "new", "type": "A", **values})
        answer = self.adds(operator, NEW)
        assert answer.status_code == 200
        assert "several A records" in words(answer.text)
        assert f'href="/hosts/{NEW}#setup"' in answer.text

    def test_an_address_at_the_name_is_shown(self, operator: Operator, console: Console) -> None:
        values = {"name": "new", "type": "A", "records": [{"value": "198.51.100.3"}]}
        console.changes("POST", "/zones/example.com/rrsets", values)
        answer = self.adds(operator, " ".join([NEW, *(f"host{n}.example.com" for n in range(25))]))
        assert answer.status_code == 200
        (found,) = re.findall("<li class=.*</li>", answer.text)
        assert "now A 198.51.100.3. The next update changes them." in found
        assert 'href="/hosts/host7.example.com#setup"' in answer.text

    def test_a_removed_host_has_no_page_while_its_records_are_deleted(
        self, shell: Shell, operator: Operator
    ) -> None:
        self.adds(operator, NEW)
        shell.update(NEW, "198.51.100.7")
        page = operator.follows(operator.presses(NEW, "remove", records="delete"))
        row = page.split(f'id="host-{NEW}"')[1].split("</tbody>")[0]
        assert "was removed or renamed, and its records are being deleted" in row
        assert "<a " not in row
        assert "<button" not in row

    def test_a_rename_shows_what_is_found_at_the_new_name(
        self, operator: Operator, console: Console
    ) -> None:
        self.adds(operator, NEW)
        values = {"records": [{"value": "198.51.100.3"}, {"value": "198.51.100.4"}]}
        console.changes(
            "POST", "/zones/example.com/rrsets", {"name": "other", "type": "A", **values}
        )
        answer = operator.presses(NEW, "rename", new=OTHER)
        assert answer.status_code == 200
        assert "several A records" in words(answer.text)
        assert f'href="/hosts/{OTHER}#setup"' in answer.text

    def test_a_host_is_renamed_and_removed(self, operator: Operator) -> None:
        self.adds(operator, NEW)
        answer = operator.presses(NEW, "rename", new=OTHER)
        assert answer.headers["Location"] == f"/hosts/{OTHER}#setup"
        answer = operator.presses(OTHER, "remove")
        assert answer.status_code == 400  # without a choice
        answer = operator.presses(OTHER, "remove", records="keep")
        page = operator.follows(answer)
        assert f"{OTHER} was removed, and its key is invalid." in words(page)
        assert operator.asks("GET", f"/hosts/{OTHER}").status_code == 404

    def test_a_name_that_can_not_be_used_renames_nothing(self, operator: Operator) -> None:
        self.adds(operator, NEW)
        for name in ("", "nas.example.invalid", HOME):
            answer = operator.presses(NEW, "rename", new=name)
            assert answer.status_code == 400
        operator.sees(f"/hosts/{NEW}")

    def test_a_hosts_own_settings_are_saved_and_shown(self, operator: Operator) -> None:
        fields = {"lost_after": "90min", "ttl": "300", "interface_id": "", "note": "<attic>"}
        fields["certificates"] = "off"
        self.adds(operator, NEW)
        answer = operator.presses(NEW, "set", **fields)
        assert answer.status_code == 303
        page = operator.sees(f"/hosts/{NEW}")
        assert 'name="lost_after" value="1h30min"' in page
        assert '<option value="off" selected>off' in page
        assert "&lt;attic&gt;" in page
        assert operator.presses(NEW, "set", ttl="5").status_code == 400
        assert operator.presses(NEW, "set", certificates="maybe").status_code == 400
        answer = operator.presses(NEW, "set", **{**fields, "lost_after": "1h30min"})
        assert answer.status_code == 303

    def test_a_form_without_settings_changes_nothing(
        self, operator: Operator, service: Service
    ) -> None:
        self.adds(operator, NEW)
        answer = operator.presses(NEW, "set", colour="blue")
        assert answer.status_code == 400
        assert "Nothing was changed" in words(answer.text)
        assert [row for row in service.rows("history") if row["event"] == "changed"] == []

    def test_a_host_of_the_settings_has_no_form_to_rename_it(
        self, operator: Operator, service: Service
    ) -> None:
        with contextlib.closing(Store(f"sqlite:///{service.database}")) as store:
            store.hosts.register([Hostname(HOME)], 1)
        page = operator.sees(f"/hosts/{HOME}")
        assert "comes from REGISTERED_FQDNS: rename or remove it there" in words(page)
        assert 'id="rename"' not in page

    def test_another_site_adds_nothing(self, operator: Operator, service: Service) -> None:
        form = operator.form(operator.sees("/add"), "/add")
        elsewhere = {"Origin": "https://other.example.net"}
        for fields, headers in (({**form, "names": NEW}, elsewhere), ({"names": NEW}, {})):
            answer = operator.asks("POST", "/add", fields, headers=headers)
            assert answer.status_code == 400
        assert [row for row in service.rows("hosts") if row["is_added"]] == []

    def test_an_empty_installation_shows_steps(self, serve: Serve) -> None:
        service = serve(REGISTERED_FQDNS="")
        operator = Operator(service)
        assert "Three steps to the first update" in words(operator.sees())
        assert 'id="add-first"' in operator.sees()
        self.adds(operator, NEW)
        assert f'href="/hosts/{NEW}#setup"' in operator.sees()
        host = service.host(NEW)
        host.headers = {"X-Pre-Shared-Key": KeyFile(service.key_file).read()[Hostname(NEW)]}
        assert host.updates("198.51.100.1").status_code == 200
        assert "Three steps" not in words(operator.sees())

    def test_hosts_as_json_are_as_the_document_says(
        self, operator: Operator, service: Service
    ) -> None:
        self.adds(operator, NEW)
        with contextlib.closing(Store(f"sqlite:///{service.database}")) as store:
            store.hosts.register([Hostname(HOME)], 1)
        service.host().updates("198.51.100.1")
        answer = operator.asks("GET", "/hosts.json")
        assert answer.mimetype == "application/json"
        document = service.asks("GET", "/openapi.json").get_json()
        schema = {**document["components"]["schemas"]["Host"], "$schema": DRAFT}
        found = {one["host"]: one for one in answer.get_json()}
        for one in found.values():
            Draft202012Validator(schema).validate(one)
        assert found[NEW]["origin"] == "added"
        assert found[HOME]["published"] == {"A": "198.51.100.1"}
        assert operator.asks("GET", "/hosts.json", login=None).status_code == 401

    def test_saving_the_settings_of_a_host_changes_no_other(self, operator: Operator) -> None:
        self.adds(operator, NEW)
        operator.presses(NEW, "set", lost_after="90061", ttl="", interface_id="", note="")
        page = operator.sees(f"/hosts/{NEW}")
        (shown,) = re.findall(r'name="lost_after" value="([^"]*)"', page)
        operator.presses(NEW, "set", lost_after=shown, ttl="", interface_id="", note="x")
        assert 'value="1d1h1min1s"' in operator.sees(f"/hosts/{NEW}")
