"""How much of our code a request runs through: `python -m bench.walk [--list]`.

Prints the calls, distinct functions and files of `backend/` in all threads, and the largest number
of our stack frames during a call of `requests`, including the thread that waits for it. The service
is built like in a worker, and calls a real sandbox over HTTP.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import logging
import sys
import tempfile
import threading
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Callable, Counter, Iterator

import requests

from sandbox import Sandbox
from tests.http.service import HOME, Service

OURS = str(Path(__file__).parents[1] / "backend") + "/"


class Walk:
    """Counts the calls in one request."""

    def __init__(self) -> None:
        self.calls: Counter[CodeType] = Counter()
        self.frames = 0
        self._caller = threading.get_ident()

    def see(self, frame: FrameType) -> None:
        code = frame.f_code
        if code.co_filename.startswith(OURS) and code.co_name[0] != "<":  # no comprehensions
            self.calls[code] += 1
        elif code.co_name == "request" and code.co_filename.endswith("requests/sessions.py"):
            stacks: list[FrameType | None] = [frame]
            if threading.get_ident() != self._caller:
                stacks.append(sys._current_frames().get(self._caller))  # noqa: SLF001
            self.frames = max(self.frames, sum(map(_ours, stacks)))

    def row(self) -> str:
        functions = {(code.co_filename, code.co_name, code.co_firstlineno) for code in self.calls}
        files = {code.co_filename for code in self.calls}
        numbers = (sum(self.calls.values()), len(functions), len(files), self.frames)
        return " ".join(f"{number:>10}" for number in numbers)

    def list(self) -> Iterator[str]:
        for code, number in self.calls.most_common():
            place = f"{code.co_filename[len(OURS) :]}:{code.co_firstlineno}"
            yield f"{number:4}  {place:40} {code.co_name}"


def _ours(frame: FrameType | None) -> int:
    number = 0
    while frame is not None:
        code = frame.f_code
        number += code.co_filename.startswith(OURS) and code.co_name[0] != "<"
        frame = frame.f_back
    return number


class _Profile:
    """Profiles all calls in threads that start after `install`."""

    walk: Walk | None = None

    @classmethod
    def install(cls) -> None:
        threading.setprofile(cls._call)
        sys.setprofile(cls._call)

    @classmethod
    def _call(cls, frame: FrameType, event: str, _: Any) -> None:  # noqa: ANN401
        walk = cls.walk
        if walk is not None and event == "call":
            walk.see(frame)


class _Ntfy(http.server.BaseHTTPRequestHandler):
    pushed = threading.Event()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = json.dumps({"topic": body["topic"], "title": body["title"]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
        self.pushed.set()

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def _ntfy() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Ntfy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def walks(folder: Path, sandbox: Sandbox, ntfy: str) -> Iterator[tuple]:
    def service(name: str, **variables: str) -> Service:
        (folder / name).mkdir()
        return Service(sandbox, folder / name, **variables)

    def walked(action: Callable[[], Any]) -> Walk:
        _Profile.walk = walk = Walk()
        action()
        _Profile.walk = None
        return walk

    one = service("one")
    try:
        router, host = one.router(), one.host()
        for warm in (1, 2):
            router.updates(myip=f"198.51.100.{warm}")
        yield "changed /nic/update", walked(lambda: router.updates(myip="198.51.100.3"))
        yield "changed /update", walked(lambda: host.updates("198.51.100.4"))
        router.updates(myip="198.51.100.4")
        yield "unchanged /nic/update", walked(lambda: router.updates(myip="198.51.100.4"))
        sandbox.fail(status=503, count=1)
        yield "Hetzner answers 503", walked(lambda: router.updates(myip="198.51.100.5"))
    finally:
        one.stop()
    lost = service(
        "lost",
        NTFY_URL=ntfy,
        NTFY_TOPIC="dyndns",
        REGISTERED_FQDNS=HOME,
        LOST_CONNECTION_TIMEOUT="1",
        CONNECTION_CHECK_INTERVAL="1",
    )
    try:
        store = next(lost.store())
        store.hosts.register(lost.hosts, 1.0)
        yield "silence to push", walked(lambda: _wait_for_push(lost))
    finally:
        lost._services.stop()  # noqa: SLF001


def _wait_for_push(lost: Service) -> None:
    lost._services.start()  # noqa: SLF001
    if not _Ntfy.pushed.wait(30):
        raise SystemExit("No push came.")


def main() -> None:
    """Print a row for each request; with ``--list``, every function that was called."""
    logging.disable(logging.CRITICAL)
    _Profile.install()
    print(f"{'':24}{'calls':>10} {'functions':>10} {'files':>10} {'frames':>10}")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sandbox = stack.enter_context(Sandbox(["example.com"]))
        for name, walk in walks(folder, sandbox, stack.enter_context(_ntfy())):
            print(f"{name:24}{walk.row()}")
            if "--list" in sys.argv:
                print("\n".join(walk.list()))


if __name__ == "__main__":
    requests.packages  # noqa: B018 - loaded before the first walk
    main()
