"""How the ingest service says no, and how it reads a request's fields: always HTTP 200, the words as recorded."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]

VERSION, MIN_VERSION = 55, 12
NO_VERSION = "No version number was provided in the request."


class Refused(Exception):
    """The service answers ``success: 0``.

    Parameters
    ----------
    error
        The answer's ``error``.
    ext
        The answer's ``error_ext``.
    """

    def __init__(self, error: str, ext: Json | None = None) -> None:
        super().__init__(error)
        self.error = error
        self.ext = ext or {}


def invalid(text: str) -> Refused:
    """The request has wrong parameters."""
    return Refused(f"invalid parameters of the request, ex: {text}")


def failed(text: str) -> Refused:
    """The operation cannot be done."""
    return Refused(f"operation failed due to: {text}")


def unauthorized(context: str, text: str) -> Refused:
    """The keys are missing or wrong."""
    return Refused(f"failed to pass authorization requirements, ex: {context} {text}")


def check_version(asked: object, lowest: int) -> None:
    """Refuse a version of the API that the service, or one of its calls, does not speak."""
    if not isinstance(asked, int) or not lowest <= asked <= VERSION:
        text = f"The requested version {asked} of the API is not in the range supported by the service."
        raise Refused(text, {"min_version": lowest, "max_version": VERSION})


def json_type(value: object) -> str:
    """The JSON name of a value's type."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    for kind, name in (((int, float), "number"), (str, "string"), (Mapping, "object"), (Sequence, "array")):
        if isinstance(value, kind):
            return name
    raise TypeError(f"{type(value).__name__} is no JSON")


class Fields:
    """The fields of a request's body; a form's are strings, which count as numbers where they are digits.

    Parameters
    ----------
    values
        By name.
    form
        Whether they came in a form.
    """

    def __init__(self, values: Mapping[str, Any], *, form: bool = False) -> None:
        self.values = values
        self._form = form

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def text(self, name: str, default: str | None = None) -> str:
        """A string; refused where it is missing and has no default, or of another type."""
        return str(self._typed(name, "string", default))

    def whole(self, name: str, default: int | None = None) -> int:
        """A number without fraction."""
        return int(self._typed(name, "number", default))

    def number(self, name: str, default: float | None = None) -> float:
        """A number."""
        return float(self._typed(name, "number", default))

    def unsigned(self, name: str) -> int:
        """A number that a contribution needs."""
        if name not in self.values:
            raise invalid(f"RequestBodyJSON::requiredUInt required parameter {name} is missing in the request body")
        return self.whole(name)

    def array(self, name: str, default: list[Any] | None = None) -> list[Any]:
        """A list."""
        return list(self._typed(name, "array", default))

    def object(self, name: str, default: Json | None = None) -> Json:
        """A mapping."""
        return dict(self._typed(name, "object", default))

    def _typed(self, name: str, wanted: str, default: Any) -> Any:
        value = self.values.get(name, default)
        if value is None and name not in self.values:
            raise invalid(
                f"RequestBodyJSON::required<T>[static] required parameter {name} is missing in the request body"
            )
        if self._form and wanted == "number" and isinstance(value, str):
            try:
                return float(value)
            except ValueError:
                raise invalid(f"parameter {name} is not a number: {value}") from None
        found = json_type(value)
        if found != wanted:
            raise failed(f"[json.exception.type_error.302] type must be {wanted}, but is {found}")
        return value


def dump(value: Json) -> str:
    """JSON as Qserv writes it into its messages: sorted, without spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
