"""A persistent map by name and type: each change returns a new map, at a low cost."""

from __future__ import annotations

import functools
import itertools
from typing import Dict, Iterator, Mapping, Tuple, TypeVar

T = TypeVar("T")
Key = Tuple[str, str]
_Shelf = Dict[Key, T]

_SHELVES = 256


class Shelves(Mapping[Key, T]):
    """A map of many small dicts, so that a change copies one of them and shares the others.

    A load test has thousands of RRSets in a zone, and thousands of snapshots of the zone.
    """

    def __init__(self, shelves: tuple[_Shelf[T], ...] | None = None) -> None:
        self._shelves: tuple[_Shelf[T], ...] = shelves or tuple({} for _ in range(_SHELVES))

    def __getitem__(self, key: Key) -> T:
        return self._shelf(key[0])[key]

    def __iter__(self) -> Iterator[Key]:
        return itertools.chain.from_iterable(self._shelves)

    def __len__(self) -> int:
        return sum(map(len, self._shelves))

    def __eq__(self, other: object) -> bool:
        # Shared dicts are identical objects, so this is fast.
        return isinstance(other, Shelves) and self._shelves == other._shelves

    __hash__ = None  # type: ignore[assignment]  # as for any mutable mapping

    @functools.cached_property
    def listed(self) -> list[T]:
        """All items, sorted by type, then name."""
        items = itertools.chain.from_iterable(shelf.items() for shelf in self._shelves)
        # One string is compared faster than two, and no name has a character below the space.
        return [item for _, item in sorted(items, key=lambda item: " ".join(item[0][::-1]))]

    def at(self, name: str) -> list[T]:
        """Return the items with this name, sorted by type."""
        shelf = self._shelf(name)
        return [shelf[key] for key in sorted(key for key in shelf if key[0] == name)]

    def names(self) -> Iterator[str]:
        """Iterate over all names, unordered; a name with several types occurs several times."""
        return (name for name, _ in self)

    def put(self, key: Key, item: T) -> Shelves[T]:
        """Return a map with this item; it replaces an item with the same key."""
        return self._with(key[0], {**self._shelf(key[0]), key: item})

    def remove(self, key: Key) -> Shelves[T]:
        """Return a map without this item."""
        left = {other: item for other, item in self._shelf(key[0]).items() if other != key}
        return self._with(key[0], left)

    def _shelf(self, name: str) -> _Shelf[T]:
        return self._shelves[hash(name) % _SHELVES]

    def _with(self, name: str, shelf: _Shelf[T]) -> Shelves[T]:
        place = hash(name) % _SHELVES
        return Shelves((*self._shelves[:place], shelf, *self._shelves[place + 1 :]))
