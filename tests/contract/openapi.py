"""Checks requests and answers against the OpenAPI document that Hetzner publishes.

`HETZNER_OPENAPI` names the document; the default is a file beside the repository.
"""

from __future__ import annotations

import functools
import json
import os
import re
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError

_BESIDE = Path(__file__).resolve().parents[3] / "shared/reference/hetzner-dns.openapi.json"
PATH = Path(os.environ.get("HETZNER_OPENAPI") or _BESIDE)

needs_document = pytest.mark.skipif(
    not PATH.is_file(), reason="Hetzner's OpenAPI document is missing (HETZNER_OPENAPI names it)"
)

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_formats = FormatChecker(formats=())


@_formats.checks("date-time")
def _is_date_time(value: object) -> bool:
    return not isinstance(value, str) or bool(_RFC3339.fullmatch(value))


class Mismatch(AssertionError):
    """A request or an answer differs from Hetzner's document."""


class Operation(NamedTuple):
    method: str
    template: str
    spec: dict[str, Any]
    path_values: dict[str, str]


@functools.lru_cache(maxsize=1)
def document() -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))
    return parsed


def operations() -> list[tuple[str, str]]:
    """Return every documented method and path template."""
    paths = document()["paths"]
    return [(method.upper(), template) for template in paths for method in paths[template]]


def find_operation(method: str, path: str) -> Operation:
    """Return the operation of a call; `path` may start with `/v1`."""
    path = re.sub(r"^/v1(?=/)", "", path)
    # /zones/actions also matches /zones/{id_or_name}: prefer the template with fewer variables.
    for template in sorted(document()["paths"], key=lambda template: template.count("{")):
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(template))
        match = re.fullmatch(pattern, path)
        if match:
            spec = document()["paths"][template].get(method.lower())
            if spec is None:
                raise Mismatch(f"{method} is not documented for {template}")
            return Operation(method, template, spec, match.groupdict())
    raise Mismatch(f"{path} is not documented")


def check_request(method: str, path: str, query: str = "", body: object = None) -> None:
    """Raise Mismatch unless Hetzner documents this call; `body` is the parsed JSON or None."""
    operation = find_operation(method, path)
    parameters = operation.spec.get("parameters", [])
    _check_path(operation, [p for p in parameters if p["in"] == "path"])
    _check_query(operation, [p for p in parameters if p["in"] == "query"], query)
    expected = operation.spec.get("requestBody")
    if expected is None:
        if body is not None:
            raise Mismatch(f"{method} {path} takes no body")
        return
    if body is None:
        raise Mismatch(f"{method} {path} lacks its body")
    _validate(body, _json_schema(expected), f"the body of {method} {path}")


def check_response(method: str, path: str, status: int, body: object) -> None:
    """Raise Mismatch unless Hetzner documents this answer; `body` is the parsed JSON."""
    responses = find_operation(method, path).spec["responses"]
    documented = responses.get(str(status)) or responses.get(f"{status // 100}xx")
    if documented is None:
        raise Mismatch(f"{status} is not documented for {method} {path}")
    _validate(body, _json_schema(documented), f"the {status} answer to {method} {path}")


def _check_path(operation: Operation, parameters: list[dict[str, Any]]) -> None:
    for parameter in parameters:
        text = unquote(operation.path_values[parameter["name"]])
        value = _converted(text, parameter["schema"])
        _validate(value, parameter["schema"], f"{parameter['name']} in {operation.template}")


def _check_query(operation: Operation, parameters: list[dict[str, Any]], query: str) -> None:
    where = f"{operation.method} {operation.template}"
    known = {parameter["name"]: parameter for parameter in parameters}
    sent = parse_qs(query, keep_blank_values=True)
    for name in sent:
        if name not in known:
            raise Mismatch(f"{where} has no query parameter {name}")
    for name, parameter in known.items():
        if name in sent:
            _validate(_query_value(sent[name], parameter["schema"]), parameter["schema"], name)
        elif parameter.get("required"):
            raise Mismatch(f"{where} lacks its query parameter {name}")
    # The document has this rule only as text.
    most = 100 if operation.template.endswith("/rrsets") else 50
    if not 1 <= int(sent.get("per_page", ["1"])[0]) <= most:
        raise Mismatch(f"{where} gives at most {most} a page")


def _query_value(texts: list[str], schema: dict[str, Any]) -> object:
    if schema.get("type") == "array":
        return [_converted(text, schema["items"]) for text in texts]
    if len(texts) > 1:
        raise Mismatch(f"a query parameter came {len(texts)} times, and is no list")
    return _converted(texts[0], schema)


def _converted(text: str, schema: dict[str, Any]) -> object:
    is_integer = schema.get("type") == "integer" and re.fullmatch(r"-?\d+", text)
    return int(text) if is_integer else text


def _json_schema(carrier: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = carrier["content"]["application/json"]["schema"]
    return schema


def _validate(value: object, schema: dict[str, Any], what: str) -> None:
    validator = Draft202012Validator(schema, format_checker=_formats)
    for fault in validator.iter_errors(value):
        error = _deepest(fault)
        raise Mismatch(f"{what} is not as documented: {error.json_path}: {error.message}")


def _deepest(fault: ValidationError) -> ValidationError:
    """Return the error of the closest alternative of an `anyOf` or `oneOf`."""
    while fault.context:
        fault = max(fault.context, key=lambda inner: len(inner.absolute_path))
    return fault
