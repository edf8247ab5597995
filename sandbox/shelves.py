"""A persistent map by name and type: each change returns a new map, at a low cost."""

from __future__ import annotations

import functools
import itertools
from typing import Dict, Iterator, Mapping, Tuple, TypeVar

T = TypeVar("T")
Key = Tuple[str, str]
# Items with their arrival numbers.
_Shelf = Dict[Key, Tuple[int, T]]

_SHELVES = 256


class Shelves(Mapping[Key, T]):
    """A map of many small dicts, so that a change copies one of them and shares the others.

    A load test has thousands of RRSets in a zone, and thousands of snapshots of the zone.
    Iteration is in order of arrival.
    """

    def __init__(self, shelves: tuple[_Shelf[T], ...] | None = None, arrived: int = 0) -> None:
        self._shelves: tuple[_Shelf[T], ...] = shelves or tuple({} for _ in range(_SHELVES))
        self._arrived = arrived

    def __getitem__(self, key: Key) -> T:
        return self._shelf(key[0])[key][1]

    def __iter__(self) -> Iterator[Key]:
        shelves = itertools.chain.from_iterable(shelf.items() for shelf in self._shelves)
        return (key for key, _ in sorted(shelves, key=lambda item: item[1][0]))

    def __len__(self) -> int:
        return sum(map(len, self._shelves))

    def __eq__(self, other: object) -> bool:
        # Shared dicts are identical objects, so this is fast.
        return isinstance(other, Shelves) and self._shelves == other._shelves

    __hash__ = None  # type: ignore[assignment]  # as for any mutable mapping

    @functools.cached_property
    def listed(self) -> list[T]:
        """All items in order of arrival."""
        shelves = itertools.chain.from_iterable(shelf.values() for shelf in self._shelves)
        return [item for _, item in sorted(shelves, key=lambda numbered: numbered[0])]

    def at(self, name: str) -> list[T]:
        """Return the items with this name."""
        return [item for (other, _), (_, item) in self._shelf(name).items() if other == name]

    def names(self) -> Iterator[str]:
        """Iterate over all names, unordered; a name with several types comes several times."""
        return (name for shelf in self._shelves for name, _ in shelf)

    def arrival(self, key: Key) -> int:
        """Return the arrival number of an item; later items have higher numbers."""
        return self._shelf(key[0])[key][0]

    def put(self, key: Key, item: T) -> Shelves[T]:
        """Return a map with this item; it replaces an item with the same key."""
        shelf = self._shelf(key[0])
        number, _ = shelf.get(key, (self._arrived, None))
        return self._with(key[0], {**shelf, key: (number, item)})

    def remove(self, key: Key) -> Shelves[T]:
        """Return a map without this item."""
        left = {other: item for other, item in self._shelf(key[0]).items() if other != key}
        return self._with(key[0], left)

    def _shelf(self, name: str) -> _Shelf[T]:
        return self._shelves[hash(name) % _SHELVES]

    def _with(self, name: str, shelf: _Shelf[T]) -> Shelves[T]:
        place = hash(name) % _SHELVES
        shelves = (*self._shelves[:place], shelf, *self._shelves[place + 1 :])
        return Shelves(shelves, self._arrived + 1)
