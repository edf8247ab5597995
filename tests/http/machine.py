"""A state machine for Hypothesis: anything may happen to the service, in any order.

Two workers share a store. Each step is a request, a fault, an action of the operator, or time that
passes. The model is what was accepted last; after all work has ended, DNS must agree with it.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import itertools
import logging
import os
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Callable, Container, Iterator, Mapping, Sequence

import pytest
from flask import g
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from werkzeug.test import TestResponse

from backend import cli
from backend.auth.keys import KeyFile
from backend.errors import StoreUnavailable
from backend.model import Address, Change, DesiredRecord, Hostname, Requester, Update
from backend.store import Store
from sandbox import Sandbox
from sandbox.limits import Allowance
from tests.http.operator import PLACE, Operator
from tests.http.service import HOME, NAS, OPERATOR, Service, basic, key_of

TOKEN = "5afe" * 16
FIXED, ADDED = (HOME, NAS), tuple(f"{name}.example.com" for name in ("one", "two", "three"))
KINDS = ("A", "AAAA")
IPV4 = [f"198.51.100.{last}" for last in range(1, 5)]
IPV6 = [f"2001:db8::{last}" for last in range(1, 4)]
CHANGES = [change.value for change in Change]
# With so few calls an hour, the service often reaches the end of the quota.
LIMITS = (60, 120)
_ROUNDS = 12
FAULTS: list[dict[str, Any]] = [
    *({"status": status} for status in (429, 500, 503)),
    {"status": 409, "code": "conflict"},
    {"status": 423, "code": "locked"},
    {"status": 422, "code": "invalid_input"},
    {"status": 403, "code": "forbidden"},
    {"status": 401, "code": "unauthorized"},
    {"status": 404, "code": "not_found"},
    {"drop": True},
    {"after": True},
    {"after": True, "body": '{"act'},
    {"html": True},
    {"body": '{"hello": [1]}'},
    {"location": "https://console.hetzner.com/"},
]

names = st.integers(0, 9)
faults = st.sampled_from(FAULTS)
methods = st.sampled_from(["GET", "POST", None])


class Clock:
    """Time that passes for everyone, and steps of the clock of the service's machine."""

    def __init__(self) -> None:
        self._time, self._monotonic = time.time, time.monotonic
        self.passed = self.stepped = 0.0

    def reset(self) -> None:
        self.passed = self.stepped = 0.0

    def sleep(self, seconds: float) -> None:
        self.passed += seconds

    def hetzner(self) -> float:
        return self._time() + self.passed

    def machine(self) -> float:
        return self._time() + self.passed + self.stepped

    def steady(self) -> float:
        return self._monotonic() + self.passed


@contextlib.contextmanager
def replaced_clocks() -> Iterator[Clock]:
    """Replace the clocks that the parts of the service have by default."""
    clock = Clock()
    new: dict[object, object] = {
        time.time: clock.machine,
        time.monotonic: clock.steady,
        time.sleep: clock.sleep,
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, module in list(sys.modules.items()):
            if name.startswith("backend."):
                for _, part in inspect.getmembers(module, inspect.isclass):
                    _replace_defaults(part.__init__, new, patch)
        patch.setattr(time, "time", clock.machine)
        yield clock


def _replace_defaults(
    function: Any,  # noqa: ANN401
    new: Mapping[object, object],
    patch: pytest.MonkeyPatch,
) -> None:
    for name in ("__kwdefaults__", "__defaults__"):
        found = getattr(function, name, None)
        if isinstance(found, dict) and any(one in new for one in _hashable(found.values())):
            patch.setattr(function, name, {key: _swap(one, new) for key, one in found.items()})
        elif isinstance(found, tuple) and any(one in new for one in _hashable(found)):
            patch.setattr(function, name, tuple(_swap(one, new) for one in found))


def _hashable(values: Any) -> list[Any]:  # noqa: ANN401
    return [one for one in values if callable(one)]


def _swap(value: Any, new: Mapping[object, object]) -> Any:  # noqa: ANN401
    return new.get(value, value) if callable(value) else value


class Lines(logging.Handler):
    """Collects all lines of the log."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.text: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.text.append(self.format(record))


class DynamicDns(RuleBasedStateMachine):
    """The service, its operator, its hosts, Hetzner and time."""

    def __init__(self, sandbox: Sandbox, clock: Clock) -> None:
        super().__init__()
        self.sandbox, self.clock = sandbox, clock
        self.folder = Path(tempfile.mkdtemp(prefix="dyndns-machine-"))
        self.workers: list[Service] = []
        self.keys: dict[str, str] = {name: key_of(name) for name in FIXED}
        self.secrets = {TOKEN, OPERATOR[1], *self.keys.values()}
        # The address that was accepted last, by name and type; `None` after a deletion.
        self.accepted: dict[tuple[str, str], str | None] = {}
        self.texts: set[tuple[str, str]] = set()
        self.sources = (f"192.0.2.{low}" for low in itertools.cycle(range(1, 255)))
        self.sent: Counter[int] = Counter()  # updates, by process
        self.log = Lines()
        self.processes = itertools.count(1)
        self.caller = self.unfinished = 0
        self.last_caller: dict[bool, int] = {}
        self.edited: set[tuple[str, str]] = set()  # by hand
        self.called: set[tuple[int, str, bool]] = set()  # process and kind of call
        self.above_quota: list[str] = []  # calls
        self.interrupting: list[tuple[int, str]] = []
        self.interrupted: set[tuple[str, str]] = set()

    @initialize()
    def starts(self) -> None:
        self.clock.reset()
        self.sandbox.reset()
        self.take = self.sandbox.guard.limits.take
        self.sandbox.guard.limits.take = self._takes  # type: ignore[method-assign]
        logging.getLogger("backend").addHandler(self.log)
        (self.folder / "pre-shared-key").write_text(
            "".join(f"{host} {key}\n" for host, key in self.keys.items())
        )
        self.workers = [self._start(), self._start()]

    def _start(self) -> Service:
        self._key_file_is_old()
        worker = Service(
            self.sandbox,
            self.folder,
            REGISTERED_FQDNS=",".join(FIXED),
            NTFY_URL="http://127.0.0.1:9",
            NTFY_TOPIC="topic",
            NOTIFY_ON_CHANGE="1",
            ACME_DNS="1",
        )
        worker.process = next(self.processes)  # type: ignore[attr-defined]
        _store(worker).hosts.register(worker.hosts, self.clock.machine())
        return worker

    def _takes(self, token: str, method: str, path: str) -> Allowance:
        """Note a call that is refused although the process knew that no call is left.

        It learns from its first call of a kind which bucket calls of this kind use.
        """
        allowance = self.take(token, method, path)
        is_for_actions = allowance.limit == LIMITS[1]
        kind = (self.caller, method, "/actions" in path)
        was_last = self.last_caller.get(is_for_actions) == self.caller
        if not allowance.granted and was_last and kind in self.called:
            self.above_quota.append(f"{method} {path}")
        is_told = g.fault is None or not g.fault.silent  # the answer says how many calls are left
        self.last_caller[is_for_actions] = self.caller if is_told else next(self.processes)
        self.called.add(kind)
        if self.interrupting:
            self._interrupts(*self.interrupting.pop())
        return allowance

    def _interrupts(self, number: int, ip: str) -> None:
        """Store an update in the middle of a call, as a request does that finds its host busy."""
        name, address = self._name(number), Address.parse(ip)
        requester = Requester(next(self.sources), "json")
        update = Update(Hostname(name), (DesiredRecord(address.type, address),), requester)
        _store(self.workers[0]).records.set_desired(update, self.clock.machine(), 0)
        self.accepted[name, address.type.value] = ip
        self.interrupted.add((name, address.type.value))

    def _calls(self, worker: Service) -> Service:
        self.caller = worker.process  # type: ignore[attr-defined]
        return worker

    def _key_file_is_old(self) -> None:
        """Skip the two seconds after which an edited key file counts."""
        self.touched = getattr(self, "touched", 0) + 1
        os.utime(self.folder / "pre-shared-key", (self.touched, self.touched))

    def _name(self, number: int) -> str:
        known = sorted(self.keys)
        return known[number % len(known)]

    # What hosts do.

    @rule(worker=st.integers(0, 1), number=names, ip=st.sampled_from(IPV4 + IPV6))
    def sends_json(self, worker: int, number: int, ip: str) -> None:
        name = self._name(number)
        desired = {"AAAA" if ":" in ip else "A": ip}
        self._update(worker, name, desired, "POST", "/update", {"json": {"fqdn": name, "ip": ip}})

    @rule(
        worker=st.integers(0, 1),
        number=names,
        ipv4=st.sampled_from(IPV4),
        ipv6=st.sampled_from([None, *IPV6]),
    )
    def sends_dyndns2(self, worker: int, number: int, ipv4: str, ipv6: str | None) -> None:
        name = self._name(number)
        desired = {"A": ipv4, **({"AAAA": ipv6} if ipv6 else {})}
        query = {"hostname": name, "myip": ",".join(desired.values())}
        self._update(worker, name, desired, "GET", "/nic/update", {"query_string": query})

    @rule(
        worker=st.integers(0, 1), number=names, kinds=st.sampled_from(["A", "AAAA", "all", "YES"])
    )
    def deletes(self, worker: int, number: int, kinds: str) -> None:
        name = self._name(number)
        if kinds == "YES":
            query = {"hostname": name, "offline": "YES"}
            asked = ("GET", "/nic/update", {"query_string": query})
        else:
            body = {"fqdn": name, **({"type": kinds} if kinds in KINDS else {})}
            asked = ("DELETE", "/update", {"json": body})
        desired = dict.fromkeys([kinds] if kinds in KINDS else KINDS)
        self._update(worker, name, desired, *asked)

    @rule(worker=st.integers(0, 1), number=names, key=st.sampled_from(["", "wrong", "other"]))
    def tries_a_wrong_key(self, worker: int, number: int, key: str) -> None:
        name = self._name(number)
        other = next(one for host, one in sorted(self.keys.items()) if host != name)
        key = other if key == "other" else key
        before = self._stored()
        answer = self._calls(self.workers[worker]).asks(
            "POST",
            "/update",
            next(self.sources),
            json={"fqdn": name, "ip": IPV4[0]},
            headers={"X-Pre-Shared-Key": key} if key else {},
        )
        self.sent[self.caller] += 1
        assert answer.status_code == 401
        assert self._stored() == before
        self._shows_no_secret(answer.get_data(as_text=True))

    @rule(worker=st.integers(0, 1), number=names, letter=st.sampled_from("ab"))
    def presents(self, worker: int, number: int, letter: str) -> None:
        name = self._name(number)
        if self._challenge("present", worker, name, letter) == 200:
            self.texts.add((name, letter))
            challenge = f"_acme-challenge.{name}"
            assert f'"{letter * 43}"' in self.sandbox.answer(challenge, "TXT")

    @rule(worker=st.integers(0, 1), number=names, letter=st.sampled_from("ab"))
    def cleans_up(self, worker: int, number: int, letter: str) -> None:
        self._challenge("cleanup", worker, self._name(number), letter)

    def _challenge(self, task: str, worker: int, name: str, letter: str) -> int:
        answer = self._calls(self.workers[worker]).asks(
            "POST",
            f"/acme/{task}",
            next(self.sources),
            json={"fqdn": f"_acme-challenge.{name}.", "value": letter * 43},
            headers={"Authorization": basic(name, self.keys[name])},
        )
        assert answer.status_code in (200, 502, 503), answer.get_data(as_text=True)
        self._shows_no_secret(answer.get_data(as_text=True))
        return answer.status_code

    # What goes wrong.

    @rule(fault=faults, method=methods, count=st.integers(1, 4))
    def hetzner_fails(self, fault: dict[str, Any], method: str | None, count: int) -> None:
        self.sandbox.fail(count=count, **({"method": method} if method else {}), **fault)

    @rule(outcome=st.sampled_from(["error", "never"]), count=st.integers(1, 3))
    def actions_fail(self, outcome: str, count: int) -> None:
        self.sandbox.actions_end(outcome, count)

    @rule(left=st.integers(0, 3))
    def another_program_uses_up_the_quota(self, left: int) -> None:
        for is_for_actions in (False, True):
            buckets = self.sandbox.guard.limits._buckets  # noqa: SLF001
            buckets[TOKEN, is_for_actions] = (left, self.clock.hetzner())
            self.last_caller[is_for_actions] = next(self.processes)

    @rule(number=names, kind=st.sampled_from(KINDS), count=st.integers(0, 2))
    def edits_by_hand(self, number: int, kind: str, count: int) -> None:
        values = (IPV4 if kind == "A" else IPV6)[-count:] if count else []
        name = self._name(number)
        self.edited.add((name, kind))
        if values or self.sandbox.records(name, kind):
            self.sandbox.publish(name, kind, *values)

    @rule(worker=st.integers(0, 1), number=names, ips=st.permutations(IPV4))
    def sends_json_while_another_update_comes(
        self, worker: int, number: int, ips: Sequence[str]
    ) -> None:
        self.interrupting = [(number, ips[0])]  # at the next call to Hetzner
        self.sends_json(worker, number, ips[1])

    @rule(worker=st.integers(0, 1), number=names, at=st.integers(0, 3), late=st.booleans())
    def the_store_fails_during_an_update(
        self, worker: int, number: int, at: int, late: bool
    ) -> None:
        """Fail one write before or after its commit, as the kill of a process does."""
        database = _store(self.workers[worker])._database  # noqa: SLF001
        write, left = database.write, iter([False] * at + [True])

        @contextlib.contextmanager
        def failing(**options: Any) -> Iterator[Any]:  # noqa: ANN401
            fails = next(left, False)
            if fails and not late:
                raise StoreUnavailable("The store can't be used right now.")
            with write(**options) as connection:
                yield connection
            if fails:
                raise StoreUnavailable("The store can't be used right now.")

        database.write = failing
        try:
            name = self._name(number)
            self.interrupting.clear()
            before = self._stored()
            ip = IPV4[number % len(IPV4)]
            answer = self._sends(
                worker, name, "POST", "/update", {"json": {"fqdn": name, "ip": ip}}
            )
            assert answer.status_code in (200, 502, 503)
            stored = self._stored().get((name, "A"), "")
            if answer.status_code == 200:
                assert stored == ip
            assert stored in (ip, before.get((name, "A"), ""))
            if stored == ip:
                self.accepted[name, "A"] = ip
        finally:
            del database.write
        self.clock.sleep(30)  # until the lock of the host ends

    @rule(worker=st.integers(0, 1), is_killed=st.booleans())
    def restarts(self, worker: int, is_killed: bool) -> None:
        self._end(self.workers[worker], is_killed=is_killed)
        self.workers[worker] = self._start()

    @rule(seconds=st.sampled_from([1.0, 5.0, 30.0, 299.0, 301.0, 700.0, 4000.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.sleep(seconds)

    @rule(seconds=st.sampled_from([-90000.0, -3600.0, -60.0, -3.0, 3.0, 60.0, 3600.0, 90000.0]))
    def the_clock_steps(self, seconds: float) -> None:
        self.clock.stepped += seconds

    @rule(worker=st.integers(0, 1))
    def background_jobs_run(self, worker: int) -> None:
        service = self._calls(self.workers[worker])
        for loop in service._services.loops:  # noqa: SLF001
            loop._action()  # noqa: SLF001

    # What the operator does.

    @rule(number=st.integers(0, len(ADDED) - 1))
    def adds(self, number: int) -> None:
        name = ADDED[number]
        if name not in self.keys and self._types("hosts", "add", name) == 0:
            self._clear(name)
            self.keys[name] = self._key(name)

    @precondition(lambda self: len(self.keys) > len(FIXED))
    @rule(number=names, other=st.integers(0, len(ADDED) - 1))
    def renames(self, number: int, other: int) -> None:
        added = sorted(set(self.keys) - set(FIXED))
        old, new = added[number % len(added)], ADDED[other]
        if new in self.keys or self._types("hosts", "rename", old, new) != 0:
            return
        self._clear(new)
        self.keys[new] = self.keys.pop(old)
        assert self._key(new) == self.keys[new]
        for kind in KINDS:
            address = self.accepted.get((old, kind))
            if address is not None:
                self.accepted[new, kind] = address
            if (old, kind) in self.accepted:
                self.accepted[old, kind] = None

    @precondition(lambda self: len(self.keys) > len(FIXED))
    @rule(number=names, keep=st.booleans())
    def removes(self, number: int, keep: bool) -> None:
        added = sorted(set(self.keys) - set(FIXED))
        name = added[number % len(added)]
        choice = "--keep-records" if keep else "--delete-records"
        if self._types("hosts", "remove", name, choice) != 0:
            return
        del self.keys[name]
        for kind in KINDS:
            if keep:
                self.accepted.pop((name, kind), None)
            elif (name, kind) in self.accepted:
                self.accepted[name, kind] = None

    @rule(number=names)
    def replaces_a_key(self, number: int) -> None:
        name = self._name(number)
        self.clock.sleep(3)
        if self._types("keys", "rotate", name, may_show_keys=True) == 0:
            assert self._key(name) != self.keys[name]
            self.keys[name] = self._key(name)

    @rule(worker=st.integers(0, 1), number=names, page=st.sampled_from(["list", "host", "json"]))
    def looks_at_a_page(self, worker: int, number: int, page: str) -> None:
        operator = Operator(self._calls(self.workers[worker]))
        paths = {"list": "/", "host": f"/hosts/{self._name(number)}", "json": "/hosts.json"}
        self._shows_no_secret(operator.sees(paths[page]))
        answer = self.workers[worker].asks("GET", "/healthz", base_url=PLACE)
        self._shows_no_secret(answer.get_data(as_text=True))

    def _counts_each_update(self, worker: Service) -> None:
        text = Operator(self._calls(worker)).sees("/metrics")
        self._shows_no_secret(text)
        counts = re.findall(
            r'^dyndns_updates_total\{.*"(?:json|dyndns2)"\} (.*)', text, re.MULTILINE
        )
        assert sum(map(float, counts)) == self.sent[self.caller], "an update is counted once"

    def _clear(self, name: str) -> None:
        """A host that is added begins without records, whatever is at Hetzner."""
        for kind in KINDS:
            self.accepted.pop((name, kind), None)

    def _key(self, name: str) -> str:
        found = KeyFile(self.folder / "pre-shared-key").read()
        key = next(key for host, key in found.items() if host.text == name)
        self.secrets.add(key)
        return key

    def _types(self, *words: str, may_show_keys: bool = False) -> int:
        """Run a command, as another process; then let the workers notice its changes."""
        self.caller = next(self.processes)
        self._key_file_is_old()
        output = io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            try:
                status = cli.run(list(words), self.workers[0]._environ)  # noqa: SLF001
            except SystemExit as ended:
                status = int(ended.code if isinstance(ended.code, int) else 1)
        if not may_show_keys:
            self._shows_no_secret(output.getvalue())
        self._key_file_is_old()
        for worker in self.workers:
            self._calls(worker).runs("registered hosts")
        return int(status)

    # What must hold.

    def _sends(
        self, worker: int, name: str, method: str, path: str, options: Mapping[str, Any]
    ) -> TestResponse:
        service = self._calls(self.workers[worker])
        headers = {"Authorization": basic(name, self.keys[name])}
        source = next(self.sources)
        answer = service.asks(method, path, source, headers=headers, **options)
        self.sent[self.caller] += 1
        self.unfinished += 1
        self._shows_no_secret(answer.get_data(as_text=True))
        return answer

    def _update(  # noqa: PLR0913, PLR0917
        self,
        worker: int,
        name: str,
        desired: Mapping[str, str | None],
        method: str,
        path: str,
        options: Mapping[str, Any],
    ) -> int:
        first = self._last_entry()
        self.interrupted.clear()
        answer = self._sends(worker, name, method, path, options)
        text = answer.get_data(as_text=True)
        assert answer.status_code in (200, 404, 502, 503), text
        for kind, address in desired.items():
            if (name, kind) not in self.interrupted:
                self.accepted[name, kind] = address
            assert self._stored()[name, kind] == self.accepted[name, kind], "an update is stored"
        mine = [
            (row["host"], row["type"])
            for row in self.workers[0].rows("history")
            if row["id"] > first and row["event"] in CHANGES and row["host"] == name
        ]
        assert len(mine) == len(set(mine)), "a change has one entry in the history"
        is_change = re.search(r'"(created|updated|deleted)"', text)
        self._has_accepted()
        assert mine or not is_change, (text, self.workers[0].rows("history"), first)
        return answer.status_code

    def _has_accepted(self) -> None:
        """Check that Hetzner holds what the service stores as accepted."""
        for (name, kind), (desired, state) in self.workers[0].states().items():
            if state in ("publishing", "published") and (name, kind) not in self.edited:
                found = self.sandbox.records(name, kind)
                assert found == ([desired] if desired else []), f"{name}: {found}, not {desired}"

    def _last_entry(self) -> int:
        return max((row["id"] for row in self.workers[0].rows("history")), default=0)

    def _stored(self) -> dict[tuple[str, str], str | None]:
        return {key: desired for key, (desired, _) in self.workers[0].states().items()}

    def _shows_no_secret(self, text: str) -> None:
        for secret in self.secrets:
            assert secret not in text, text

    @precondition(lambda self: self.unfinished >= 8)
    @rule()
    def everything_settles(self) -> None:
        """Hetzner recovers, and time passes. Then every host sends its last update again."""
        self.interrupting.clear()
        self.sandbox.fail_no_more()
        self.sandbox.zones._outcomes.clear()  # noqa: SLF001
        self._settles(list)
        self._agrees(without=self.edited)
        self._settles(lambda: [name for name in sorted(self.keys) if not self._repeats(name)])
        self._agrees()
        self.edited.clear()
        self.unfinished = 0
        for worker in self.workers:
            self._counts_each_update(worker)

    def _settles(self, refused: Callable[[], Sequence[str]]) -> None:
        for _ in range(_ROUNDS):
            for worker in (0, 1):
                self.clock.sleep(1900)
                self.background_jobs_run(worker)
            names, left = refused(), self._left_to_do()
            assert not self.above_quota, self.above_quota
            if not left and not names:
                self.clock.sleep(60)  # for actions that no worker polls
                return
        assert not left, left
        assert not names, names

    def _left_to_do(self) -> list[object]:
        rows = self.workers[0].rows
        waiting = [row for row in rows("records") if row["state"] != "published"]
        return waiting + [row for row in rows("hosts") if row["leaving"]] + rows("challenges")

    def _repeats(self, name: str) -> bool:
        """Send the last accepted updates of a host again, which undoes edits at Hetzner."""
        status = 200
        for kind in KINDS:
            if (name, kind) not in self.accepted:
                continue
            ip = self.accepted[name, kind]
            body = {"fqdn": name, "type": kind, **({"ip": ip} if ip else {})}
            method = "POST" if ip else "DELETE"
            answer = self._update(0, name, {kind: ip}, method, "/update", {"json": body})
            status = max(status, answer)
        return status == 200

    def _agrees(self, without: Container[tuple[str, str]] = ()) -> None:
        entries = {
            (row["host"], row["type"]): row["new"]
            for row in sorted(self.workers[0].rows("history"), key=lambda row: row["id"])
            if row["event"] in CHANGES
        }
        for (name, kind), address in self.accepted.items():
            if (name, kind) in without:
                continue
            found = self.sandbox.answer(name, kind)
            assert found == ([address] if address else []), f"{name}: {found}, not {address}"
            recorded = entries.get((name, kind)) or None
            assert recorded == address, f"history of {name}: {recorded}, not {address}"
        for name in (*FIXED, *ADDED):
            found = self.sandbox.answer(f"_acme-challenge.{name}", "TXT")
            assert found == [], f"{name}: {found}"

    def _end(self, worker: Service, *, is_killed: bool) -> None:
        if is_killed:
            worker._services.close()  # noqa: SLF001
            worker._services.stop_updates()  # noqa: SLF001
        else:
            self._calls(worker).stop()

    def teardown(self) -> None:
        try:
            if self.workers and sys.exc_info()[0] is None:
                self.everything_settles()
                self._shows_no_secret("\n".join(self.log.text))
                for table in ("history", "reports", "pushes", "records", "hosts"):
                    self._shows_no_secret(str(self.workers[0].rows(table)))
        finally:
            logging.getLogger("backend").removeHandler(self.log)
            for worker in self.workers:
                self._end(worker, is_killed=False)
            if self.workers:
                del self.sandbox.guard.limits.take
            shutil.rmtree(self.folder, ignore_errors=True)


def _store(service: Service) -> Store:
    found = service._services.close.__self__  # type: ignore[attr-defined]  # noqa: SLF001
    assert isinstance(found, Store)
    return found


@contextlib.contextmanager
def machine() -> Iterator[Callable[[], DynamicDns]]:
    """Return a function that creates a machine for a run; all runs share a sandbox."""
    with replaced_clocks() as clock, Sandbox(
        [f"example.com={TOKEN}"],
        [TOKEN],
        action_seconds=3,
        limits=LIMITS,
        clock=clock.hetzner,
    ) as sandbox:
        yield lambda: DynamicDns(sandbox, clock)
