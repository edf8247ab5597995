from __future__ import annotations

from typing import NoReturn

from backend.server.worker import Worker


def test_a_bug_of_the_fast_path_is_left_to_a_thread() -> None:
    def fail(_key: bytes) -> NoReturn:
        raise KeyError("a bug")

    worker = Worker.__new__(Worker)
    worker.wsgi, worker.keepalived_conns = print, []
    worker.set_up(fail)
    assert worker._known(b"key") is None  # noqa: SLF001
