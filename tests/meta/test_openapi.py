"""The OpenAPI document and the JSON protocol's table of answers agree."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from backend import __version__
from backend.web import json_api
from backend.web.request import CHALLENGE

ROOT = Path(__file__).parents[2]
DOCUMENT: dict[str, Any] = json.loads((ROOT / "backend/web/openapi.json").read_text("utf-8"))
OPERATIONS = ["post", "delete"]

each_operation = pytest.mark.parametrize("method", OPERATIONS)


def resolved(part: Any) -> Any:  # noqa: ANN401
    """Return a part of the document with its references resolved."""
    if isinstance(part, list):
        return [resolved(item) for item in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        found: Any = DOCUMENT
        for name in part["$ref"].lstrip("#/").split("/"):
            found = found[name]
        return resolved(found)
    return {name: resolved(value) for name, value in part.items()}


def responses(method: str) -> dict[str, Any]:
    found: dict[str, Any] = resolved(DOCUMENT["paths"]["/update"][method]["responses"])
    return found


def codes(response: dict[str, Any]) -> set[str]:
    """The words that a response of the document may have."""
    _, named = response["content"]["application/json"]["schema"]["allOf"]
    return set(named["properties"]["code"]["enum"])


def answered() -> dict[str, set[str]]:
    """The codes in the protocol's table, by status."""
    found = defaultdict(set)
    for status, code in json_api.ANSWERS.values():
        found[str(status)].add(code)
    return dict(found)


@each_operation
def test_the_openapi_document_has_exactly_the_tables_answers(method: str) -> None:
    errors = {status: codes(one) for status, one in responses(method).items() if status != "200"}
    assert errors == answered()


@each_operation
def test_the_document_promises_the_headers_that_go_with_a_status(method: str) -> None:
    promised = {
        status: set(one["headers"]) for status, one in responses(method).items() if "headers" in one
    }
    waits = {"Retry-After"}
    assert promised == {"401": {"WWW-Authenticate"}, "429": waits, "503": waits}


@each_operation
def test_the_openapi_examples_match_their_schemas(method: str) -> None:
    operation = resolved(DOCUMENT["paths"]["/update"][method])
    sent = operation["requestBody"]["content"]["application/json"]
    told = operation["responses"]["200"]["content"]["application/json"]
    assert len(sent["examples"]) == 2
    for example in sent["examples"].values():
        Draft202012Validator(sent["schema"]).validate(example["value"])
    Draft202012Validator(told["schema"]).validate(told["example"])


def test_the_words_for_a_success_are_those_of_the_protocol() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    words = {
        word
        for name in ("Updated", "Removed")
        for word in schemas[name]["properties"]["status"]["enum"]
    }
    assert words == set(json_api._STATUSES.values())  # noqa: SLF001


def test_the_openapi_document_names_version_and_login() -> None:
    assert DOCUMENT["openapi"] == "3.1.0"
    assert DOCUMENT["info"]["version"] == __version__
    schemes = DOCUMENT["components"]["securitySchemes"]
    assert schemes["key"]["name"] == "X-Pre-Shared-Key"
    assert CHALLENGE.lower().startswith(schemes["login"]["scheme"])
