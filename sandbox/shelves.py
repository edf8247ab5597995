"""A map by name and type of which every change is a new map, cheap to have however big it is."""

from __future__ import annotations

import functools
import itertools
from typing import Dict, Iterator, List, Mapping, Optional, Tuple, TypeVar

T = TypeVar("T")
Key = Tuple[str, str]
# An item with the number of its arrival.
_Shelf = Dict[Key, Tuple[int, T]]

_SHELVES = 256


class Shelves(Mapping[Key, T]):
    """Items on many small shelves, so that a change copies one of them and shares all others.

    A load test has thousands of RRSets in a zone, and thousands of snapshots of it under way.
    Iteration is in the order of arrival.
    """

    def __init__(self, shelves: Optional[Tuple[_Shelf[T], ...]] = None, arrived: int = 0) -> None:
        self._shelves: Tuple[_Shelf[T], ...] = shelves or tuple({} for _ in range(_SHELVES))
        self._arrived = arrived

    def __getitem__(self, key: Key) -> T:
        return self._shelf(key[0])[key][1]

    def __iter__(self) -> Iterator[Key]:
        shelves = itertools.chain.from_iterable(shelf.items() for shelf in self._shelves)
        return (key for key, _ in sorted(shelves, key=lambda item: item[1][0]))

    def __len__(self) -> int:
        return sum(map(len, self._shelves))

    def __eq__(self, other: object) -> bool:
        # Shelves in common are the same object, which makes this fast.
        return isinstance(other, Shelves) and self._shelves == other._shelves

    __hash__ = None  # type: ignore[assignment]  # as for any map

    @functools.cached_property
    def listed(self) -> List[T]:
        """All items in the order of their arrival."""
        shelves = itertools.chain.from_iterable(shelf.values() for shelf in self._shelves)
        return [item for _, item in sorted(shelves, key=lambda numbered: numbered[0])]

    def at(self, name: str) -> List[T]:
        """The items of this name."""
        return [item for (other, _), (_, item) in self._shelf(name).items() if other == name]

    def names(self) -> Iterator[str]:
        """All names, in no order; those of several types several times."""
        return (name for shelf in self._shelves for name, _ in shelf)

    def arrival(self, key: Key) -> int:
        """A number that is higher for what arrived later."""
        return self._shelf(key[0])[key][0]

    def put(self, key: Key, item: T) -> Shelves[T]:
        """With this item, in place of the one that was there."""
        shelf = self._shelf(key[0])
        number, _ = shelf.get(key, (self._arrived, None))
        return self._with(key[0], {**shelf, key: (number, item)})

    def remove(self, key: Key) -> Shelves[T]:
        """Without this item."""
        left = {other: item for other, item in self._shelf(key[0]).items() if other != key}
        return self._with(key[0], left)

    def _shelf(self, name: str) -> _Shelf[T]:
        return self._shelves[hash(name) % _SHELVES]

    def _with(self, name: str, shelf: _Shelf[T]) -> Shelves[T]:
        place = hash(name) % _SHELVES
        shelves = (*self._shelves[:place], shelf, *self._shelves[place + 1 :])
        return Shelves(shelves, self._arrived + 1)
