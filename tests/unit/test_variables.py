from __future__ import annotations

from backend.settings import Reader, Variable, number, secret, text


def test_a_variable_counts_as_chosen_if_its_value_is_usable() -> None:
    reader = Reader({"GOOD": "7", "EMPTY": " ", "BAD": "x"})
    for name in ("GOOD", "EMPTY", "BAD", "ABSENT"):
        number(Variable(name, "home.of", number, "1"), reader)
    chosen = [name for name in ("GOOD", "EMPTY", "BAD", "ABSENT") if reader.was_chosen(name)]
    assert chosen == ["GOOD"]
    assert len(reader.warnings) == 1


def test_only_what_is_read_as_a_secret_is_one() -> None:
    assert Variable("PASSWORD", "home.of", secret).is_secret
    assert not Variable("TOPIC", "home.of", text).is_secret
