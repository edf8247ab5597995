from __future__ import annotations

from backend.settings import VARIABLES, Reader


def test_only_a_valid_value_counts_as_chosen() -> None:
    (ttl,) = (one for one in VARIABLES if one.name == "RECORD_TTL")
    chosen = []
    for text in ("3600", " ", "x", "59"):
        reader = Reader({"RECORD_TTL": text})
        ttl.read(ttl, reader)
        chosen.append(reader.was_chosen("RECORD_TTL"))
    assert chosen == [True, False, False, False]
    assert not Reader({}).was_chosen("RECORD_TTL")


def test_a_secret_may_come_from_a_file() -> None:
    assert [one.name for one in VARIABLES if one.is_secret and not one.has_file] == []
