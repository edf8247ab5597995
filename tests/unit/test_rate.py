from __future__ import annotations

import threading

from backend.rate import LineLimit, TokenBucket
from tests.unit.fakes import Clock


def test_a_full_bucket_gives_its_capacity_at_once() -> None:
    bucket = TokenBucket(3, 0.5, 100)
    assert [bucket.take(100) for _ in range(5)] == [True, True, True, False, False]


def test_a_bucket_refills_with_time_up_to_its_capacity() -> None:
    bucket = TokenBucket(3, 0.5, 100)
    assert all(bucket.take(100) for _ in range(3))
    assert [bucket.level(now) for now in (100, 101, 104, 1000)] == [0, 0.5, 2, 3]
    assert [bucket.take(now) for now in (101, 102, 103, 104)] == [False, True, False, True]


def test_setting_the_clock_back_does_not_refill_a_bucket() -> None:
    bucket = TokenBucket(1, 1, 100)
    assert bucket.take(100)
    assert not bucket.take(50)
    assert bucket.level(49) == 0
    assert bucket.take(51)


def test_the_wait_ends_when_a_token_is_there() -> None:
    bucket = TokenBucket(1, 0.5, 100)
    assert bucket.wait(100) == 0
    assert bucket.take(100)
    assert [bucket.wait(now) for now in (100, 101, 102)] == [2, 1, 0]


def test_a_refused_take_keeps_the_fraction() -> None:
    bucket = TokenBucket(1, 0.5, 100)
    assert bucket.take(100)
    assert not bucket.take(101.5)
    assert bucket.level(101.5) == 0.75


def test_a_log_line_counts_the_suppressed_lines_before_it(clock: Clock) -> None:
    limit = LineLimit(2, 0.1, clock)
    assert [limit.take() for _ in range(5)] == [0, 0, None, None, None]
    clock.advance(10)
    assert [limit.take(), limit.take()] == [3, None]


def test_threads_share_one_limit(clock: Clock) -> None:
    limit = LineLimit(100, 0.1, clock)
    found = []

    def take() -> None:
        found.extend([limit.take() for _ in range(50)])

    workers = [threading.Thread(target=take) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 400
    assert found.count(None) == 300
