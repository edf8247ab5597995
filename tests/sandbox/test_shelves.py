"""A persistent map: it behaves like a dict, and its versions share unchanged parts."""

from __future__ import annotations

from hypothesis import given, strategies as st

from sandbox.shelves import Key, Shelves

KEYS = st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["A", "AAAA"]))
STEPS = st.lists(st.tuples(KEYS, st.none() | st.integers()))


def carried_out(steps: list[tuple[Key, int | None]]) -> tuple[Shelves[int], dict[Key, int]]:
    shelves, expected = Shelves(), {}
    for key, item in steps:
        if item is not None:
            shelves, expected = shelves.put(key, item), {**expected, key: item}
        elif key in expected:
            shelves = shelves.remove(key)
            expected = {other: old for other, old in expected.items() if other != key}
    return shelves, expected


@given(STEPS)
def test_shelves_behave_as_a_dict(steps: list[tuple[Key, int | None]]) -> None:
    shelves, expected = carried_out(steps)
    assert dict(shelves) == expected
    by_type = sorted(expected, key=lambda key: (key[1], key[0]))
    assert shelves.listed == [expected[key] for key in by_type]
    assert len(shelves) == len(expected)
    assert sorted(shelves.names()) == sorted(name for name, _ in expected)
    for name in "abcdefgh":
        assert shelves.at(name) == [expected[key] for key in sorted(expected) if key[0] == name]


def test_a_change_does_not_modify_the_old_map() -> None:
    before = Shelves[int]().put(("a", "A"), 1).put(("b", "A"), 2)
    before.put(("a", "A"), 3)
    before.remove(("b", "A"))
    assert dict(before) == {("a", "A"): 1, ("b", "A"): 2}


def test_maps_with_the_same_items_are_equal() -> None:
    one = Shelves[int]().put(("a", "A"), 1)
    assert one == one.put(("b", "A"), 2).remove(("b", "A"))
    assert one != one.put(("a", "A"), 2)
    assert one != {("a", "A"): 1}
