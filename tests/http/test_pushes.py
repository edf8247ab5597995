"""A service that is killed between any two of its steps loses no push and repeats none."""

from __future__ import annotations

import collections
import contextlib
import sqlite3
import time
from pathlib import Path
from typing import Any, Callable, ContextManager, Iterator, Mapping, Sequence

import pytest

from backend.notify.channels import Ntfy
from backend.notify.reporter import Push
from backend.store.database import Database
from backend.sync import challenges
from sandbox import Sandbox
from tests.http.operator import Operator, words
from tests.http.service import HOME, NAS, PEER, Service, basic, key_of
from tests.http.test_operator_pages import register

VALUE = "LHDhK3oGRvkiefQnx7OOczTY5Tic_xZ6HcMOc_gmtoM"
MOST_WRITES = 200


class Killed(BaseException):
    """Ends the service between two of its steps, as a kill does."""


class Reaper:
    """Kills the service before the transaction of this number."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = 0  # transactions; 0: no kill
        self.titles: list[str] = []
        write = Database.write

        def counted(database: Database, **options: bool) -> ContextManager[Any]:
            if getattr(database._open, "connection", None) is None:  # noqa: SLF001
                self.step()
            return write(database, **options)

        def publish(_: Ntfy, push: Push, _seconds: float) -> None:
            self.titles.append(push.title)

        monkeypatch.setattr(Database, "write", counted)
        monkeypatch.setattr(Ntfy, "publish", publish)

    def step(self) -> None:
        if self.left:
            self.left -= 1
            if not self.left:
                raise Killed


class World:
    """A service that can be killed and started again."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self.sandbox = sandbox
        self._folder = folder
        folder.mkdir()
        self.service = self._new_service()

    def dies_and_starts(self) -> None:
        self.service._services.close()  # noqa: SLF001
        self.service = self._new_service()
        self.changes_store("delete from leases")  # their owner is dead

    def _new_service(self) -> Service:
        settings = {"NTFY_URL": "http://ntfy.invalid", "NTFY_TOPIC": "dyndns", "ACME_DNS": "1"}
        settings.update(AUTH_FAILURE_LIMIT="2")
        return Service(self.sandbox, self._folder, **settings)

    def changes_store(self, statement: str) -> None:
        with contextlib.closing(sqlite3.connect(str(self.service.database))) as store, store:
            store.execute(statement)

    def sends_pushes(self) -> None:
        """Send all stored pushes without waiting for others."""
        pushes = self.service._services.pushes  # noqa: SLF001
        pushes._send(time.time(), ahead=600)  # noqa: SLF001
        for outbox in pushes._outboxes.values():  # noqa: SLF001
            outbox._send_all()  # noqa: SLF001

    def is_refused(self) -> None:
        self.sandbox.fail(423, code="protected", method="POST", count=None)
        self.service.host().updates("198.51.100.1")

    def is_accepted(self) -> None:
        self.sandbox.fail_no_more()
        for _ in range(100):
            self.changes_store("update records set poll_action_at = 1, retry_at = 1")
            self.service.runs("reconciler")
            if {row["state"] for row in self.service.rows("records")} == {"published"}:
                return
            time.sleep(0.02)
        raise AssertionError(self.service.rows("records"))

    def lists_zones(self) -> None:
        self.sandbox.show_zone("example.com", status="error")
        self.changes_store("delete from projects")
        self.service.runs("collector")

    def guesses_keys(self) -> None:
        for _ in range(4):
            headers = {"Authorization": basic(HOME, "a-wrong-key")}
            self.service.asks(
                "GET", "/nic/update", query_string={"hostname": HOME}, headers=headers
            )
        self.service.runs("alarm")

    def gets_no_certificate(self) -> None:
        self.sandbox.fail(423, code="protected", method="POST", count=None)
        self._presents()

    def gets_a_certificate(self) -> None:
        self.sandbox.fail_no_more()
        self.dies_and_starts()  # a process doesn't ask again for a minute
        self._presents()

    def _presents(self) -> None:
        headers = {"Authorization": basic(HOME, key_of(HOME))}
        body = {"fqdn": f"_acme-challenge.{HOME}.", "value": VALUE}
        self.service.asks("POST", "/acme/present", json=body, headers=headers)


Steps = Sequence[Callable[[World], None]]
SCENARIOS: Mapping[str, tuple[Steps, Sequence[str]]] = {
    "a refused update": (
        [World.is_refused, World.sends_pushes, World.is_accepted, World.sends_pushes],
        [f"{HOME} can't be updated", f"{HOME} is up to date again"],
    ),
    "a broken zone": (
        [World.lists_zones, World.sends_pushes],
        ["Zone example.com isn't published"],
    ),
    "guessed keys": ([World.guesses_keys, World.sends_pushes], [f"Failed logins for {HOME}"]),
    "a certificate": (
        [
            *(World.gets_no_certificate, World.sends_pushes),
            *(World.gets_a_certificate, World.sends_pushes),
        ],
        [f"A certificate of {HOME} may fail", f"{HOME} can get certificates again"],
    ),
}


@pytest.fixture
def reaper(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reaper]:
    monkeypatch.setattr(challenges, "_FIRST_PAUSE", 0.02)
    monkeypatch.setattr(challenges, "_LONGEST_PAUSE", 0.05)
    return Reaper(monkeypatch)


@pytest.fixture
def world(sandbox: Sandbox, tmp_path: Path) -> Iterator[World]:
    world = World(sandbox, tmp_path / "world")
    yield world
    world.service.stop()


@pytest.mark.parametrize(("steps", "titles"), SCENARIOS.values(), ids=list(SCENARIOS))
def test_a_kill_between_any_two_steps_loses_no_push(
    sandbox: Sandbox, tmp_path: Path, reaper: Reaper, steps: Steps, titles: Sequence[str]
) -> None:
    for number in range(MOST_WRITES):
        reaper.left, reaper.titles = number, []
        sandbox.reset()
        world = World(sandbox, tmp_path / str(number))
        was_killed = plays(world, steps)
        reaper.left = 0
        world.service.stop()
        counts = collections.Counter(reaper.titles)
        assert set(counts) == set(titles), number
        # A push whose process is killed before it deletes the push is sent again.
        assert sum(counts.values()) <= len(titles) + 1, (number, counts)
        if number and not was_killed:
            return
    raise AssertionError("the scenario has no end")


def plays(world: World, steps: Steps) -> bool:
    """Play a scenario, with a restart after a kill; return whether the service was killed."""
    was_killed = False
    for step in steps:
        try:
            step(world)
        except Killed:
            was_killed = True
            world.dies_and_starts()
            step(world)
    return was_killed


def fight(service: Service) -> None:
    for number in range(12):
        place = f"203.0.113.{number % 2 + 1}"
        service.host().sends("POST", place, ip=place)


def have_several_records(service: Service) -> None:
    service.sandbox.publish(HOME, "A", "198.51.100.8", "198.51.100.9")
    service.host().updates("198.51.100.1")


def send_an_unknown_parameter(service: Service) -> None:
    for _ in range(3):
        service.router().updates(adresse="198.51.100.1")


def send_a_bad_value_beside_a_good_one(service: Service) -> None:
    for _ in range(3):
        service.router().updates(myip="198.51.100.1,nonsense")


def send_wrong_keys(service: Service) -> None:
    for _ in range(5):
        headers = {"Authorization": basic(HOME, "a-wrong-key")}
        service.asks("GET", "/nic/update", query_string={"hostname": HOME}, headers=headers)
    service.runs("failed logins")
    service.runs("alarm")


@pytest.mark.parametrize(
    ("trouble", "title", "hint"),
    [
        (
            fight,
            f"Two devices update {HOME}",
            "Two devices: requests from 203.0.113.1 and 203.0.113.2 change it back and forth",
        ),
        (have_several_records, f"{HOME} has several records", "Several records at one name"),
        (send_an_unknown_parameter, f"{HOME} sends invalid updates", "adresse"),
        (send_a_bad_value_beside_a_good_one, f"{HOME} sends partly invalid updates", "nonsense"),
        (send_wrong_keys, f"Failed logins for {HOME}", f"Wrong key from {PEER}"),
    ],
)
def test_a_problem_of_a_host_is_on_its_page_and_pushed_once(
    world: World, reaper: Reaper, trouble: Callable[[Service], None], title: str, hint: str
) -> None:
    register(world.service)
    for _ in range(2):
        trouble(world.service)
        world.sends_pushes()
        world.dies_and_starts()
    assert reaper.titles == [title]
    page = words(Operator(world.service).sees(f"/hosts/{HOME}"))
    assert hint in page.partition("Settings for the device")[0]


def waits_of_pushes(
    sandbox: Sandbox, folder: Path, updates: Sequence[tuple[str, str]], **settings: str
) -> list[int]:
    """Send updates, and return for how many seconds the push of each waits for others."""
    settings.update(NTFY_URL="http://ntfy.invalid", NTFY_TOPIC="dyndns")
    service = Service(sandbox, folder, **settings)
    with contextlib.closing(service._services):  # noqa: SLF001
        for name, ip in updates:
            assert service.host(name).updates(ip).status_code == 200
        return [round(row["due"] - row["at"]) for row in service.rows("pushes")]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("198.51.100.7", "198.51.100.7"), ("198.51.100.8", "198.51.100.8")),
        (("2001:db8:1:2::7", "2001:db8:1:2:1:2:3:4"), ("2001:db8:9::7", "2001:db8:9::1:2:3:4")),
    ],
)
def test_the_push_of_a_new_address_waits_for_hosts_that_have_the_old_one(
    sandbox: Sandbox, tmp_path: Path, before: Sequence[str], after: Sequence[str]
) -> None:
    moves = [*zip((HOME, NAS), before), *zip((HOME, NAS), after)]
    assert waits_of_pushes(sandbox, tmp_path, moves, NOTIFY_ON_CHANGE="1") == [5, 5, 60, 5]


@pytest.mark.parametrize(
    ("settings", "number"),
    [({}, 0), ({"NOTIFY_ON_CHANGE": "1"}, 1), ({"DEBUG_LOGGING": "1"}, 1)],
)
def test_a_change_is_pushed_only_in_debug_or_by_choice(
    sandbox: Sandbox, tmp_path: Path, settings: Mapping[str, str], number: int
) -> None:
    waits = waits_of_pushes(sandbox, tmp_path, [(HOME, "198.51.100.7")], **settings)
    assert len(waits) == number
