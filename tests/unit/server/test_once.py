from __future__ import annotations

import os

from backend.notify.outbox import Once


def test_it_is_said_once() -> None:
    once = Once()
    assert [once.take() for _ in range(3)] == [True, False, False]


def test_it_is_said_again_when_it_was_allowed() -> None:
    once = Once()
    once.take()
    once.allow()
    assert [once.take() for _ in range(2)] == [True, False]


def test_of_many_processes_one_says_it() -> None:
    once = Once()
    children = []
    for _ in range(10):
        child = os.fork()
        if not child:
            os._exit(0 if once.take() else 1)
        children.append(child)
    codes = [os.waitpid(child, 0)[1] for child in children]
    assert codes.count(0) == 1
    assert not once.take()
