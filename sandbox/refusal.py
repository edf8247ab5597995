"""Errors of the Cloud API: status, code, message and details."""

from __future__ import annotations

from typing import Mapping, Sequence

CODES = {
    400: "json_error",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    410: "deprecated_api_endpoint",
    412: "resource_unavailable",
    422: "invalid_input",
    423: "locked",
    429: "rate_limit_exceeded",
    500: "server_error",
    502: "bad_gateway",
    503: "unavailable",
    504: "timeout",
}


class ApiError(Exception):
    """A call that Hetzner would refuse; clients should distinguish errors by `code`."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code or CODES.get(status, "server_error")
        self.details = details

    def body(self) -> dict[str, object]:
        """Return the JSON object of the answer."""
        error = {"code": self.code, "message": str(self), "details": self.details}
        return {"error": error}


def not_found(what: str) -> ApiError:
    """Return the error for a missing zone, RRSet or action."""
    return ApiError(404, f"{what} not found")


def invalid(
    faults: Mapping[str, Sequence[str]], message: str = "", *, code: str | None = None
) -> ApiError:
    """Return an input error; `faults` maps field paths, as in `records[0].value`, to messages."""
    named = ", ".join(f"'{name}': {'; '.join(texts)}" for name, texts in faults.items())
    fields = [{"name": name, "messages": list(texts)} for name, texts in faults.items()]
    text = message or f"invalid input in field {named}"
    return ApiError(409 if code else 422, text, code=code, details={"fields": fields})


def taken(field: str, message: str) -> ApiError:
    """Return the error for a name that already exists."""
    return invalid({field: ["already exists"]}, message, code="uniqueness_error")


def protected(message: str) -> ApiError:
    """Return the error for a zone or RRSet that the user has protected."""
    return ApiError(423, message, code="protected")
