"""Each protocol has an answer to every error."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Iterator, Mapping, Tuple, Type

import pytest

import backend
from backend import errors
from backend.errors import DyndnsError
from backend.web import dyndns2, json_api
from backend.web.request import answer_for

Table = Mapping[Type[DyndnsError], Tuple[int, str]]

PROTOCOLS = [json_api.ANSWERS, dyndns2.ANSWERS]


def family(root: type[DyndnsError]) -> Iterator[type[DyndnsError]]:
    for child in root.__subclasses__():
        yield child
        yield from family(child)


def classes() -> list[type[DyndnsError]]:
    """Every error of the backend, wherever it is defined."""
    for module in pkgutil.walk_packages(backend.__path__, "backend."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    return sorted(set(family(DyndnsError)), key=lambda error: error.__name__)


CLASSES = classes()


def answer(table: Table, error: type[DyndnsError]) -> tuple[int, str]:
    return answer_for(table, error.__new__(error, "something"))[:2]


@pytest.mark.parametrize("table", PROTOCOLS, ids=["json", "dyndns2"])
@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
def test_every_error_has_an_answer_of_its_family(table: Table, error: type[DyndnsError]) -> None:
    status, word = answer(table, error)
    assert (status, word) != table[DyndnsError], "that is the answer to a bug"
    assert word
    if issubclass(error, errors.TransientError):
        assert status == 503
    elif issubclass(error, errors.Unauthorized):
        assert status == 401
    elif issubclass(error, errors.TooManyFailures):
        assert status == 429
    elif issubclass(error, errors.CallerError):
        assert 400 <= status < 500
    else:
        assert status in (404, 502), "the caller can't put it right"


@pytest.mark.parametrize("table", PROTOCOLS, ids=["json", "dyndns2"])
def test_tables_hold_only_errors_that_exist(table: Table) -> None:
    assert all(status >= 400 for status, _ in table.values())
    assert set(table) <= {DyndnsError, *CLASSES}


def test_foreign_hosts_and_wrong_keys_share_an_answer() -> None:
    assert answer(json_api.ANSWERS, errors.ForeignHost) == answer(
        json_api.ANSWERS, errors.Unauthorized
    )


def test_the_docstrings_tree_has_exactly_the_errors() -> None:
    drawn = {
        word
        for line in str(errors.__doc__).splitlines()
        for word in line.replace(",", " ").split()
        if isinstance(getattr(errors, word, None), type)
    }
    defined = {error.__name__ for error in CLASSES if error.__module__ == errors.__name__}
    assert drawn == {"DyndnsError", *defined}
