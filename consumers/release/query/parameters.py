"""What a template's parameters may be, and how a value of each becomes SQL: checked, never pasted."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum

import numpy as np

from consumers.release.table import CHUNK, FLAGS, SUB_CHUNK, Database, Role, Table
from stream.errors import Wrong


class Kind(StrEnum):
    """What a parameter's value is."""

    TABLE = "table"
    COLUMN = "column"
    COLUMNS = "columns"
    NUMBER = "number"
    WHOLE = "whole number"
    ID = "id"


TABLE, COLUMN, COLUMNS, NUMBER, WHOLE, ID = Kind


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a template.

    Parameters
    ----------
    name
        By which it is set.
    kind
        What its value is: a table or columns of the description, a number, or a key as the table has it.
    description
        What it means.
    default
        What counts where it is not given: of columns the first that the table has, an empty one always; without any,
        it must be given.
    unit
        Of its value.
    least, most
        Bounds of a number, included.
    optional
        Of a column: an empty value leaves its condition out. Never by itself, so that no selection is weaker unseen.
    """

    name: str
    kind: Kind
    description: str
    default: tuple[str, ...] = ()
    unit: str = ""
    least: float = -math.inf
    most: float = math.inf
    optional: bool = False


class Asked:
    """What a template was asked with: each value as the SQL needs it.

    Raises
    ------
    Wrong
        ``query_parameter``, ``unknown_table``: here for names of parameters and the table, at each value for itself.
    """

    def __init__(
        self, template: str, parameters: Sequence[Parameter], database: Database, given: Mapping[str, object]
    ) -> None:
        self._template = template
        self._parameters = {each.name: each for each in parameters}
        self._given = given
        for name in given:
            if name not in self._parameters:
                near = get_close_matches(name, self._parameters, n=1)
                advice = f"did you mean {near[0]}?" if near else f"there are {', '.join(self._parameters)}"
                raise Wrong("query_parameter", f"{template} has no parameter {name}", advice)
        self.table: Table = database.table(self._text("table"))
        self._columns = {column.name for column in self.table.columns}
        if self.table.partitioned:
            self._columns |= {CHUNK, SUB_CHUNK} | ({FLAGS} if self.table.role is Role.MATCH else set())

    def column(self, name: str) -> str:
        """The column that the parameter `name` means."""
        return self.optional(name) or self._refuse(name, "", f"give it: --set {name}=COLUMN")

    def optional(self, name: str) -> str:
        """The column that the parameter `name` means; empty where it may be and is."""
        if name in self._given:
            return self._known(name, self._text(name))
        default = self._parameters[name].default
        found = [each for each in default if each in self._columns or not each]
        if found:
            return found[0]
        missing = f"table {self.table.name} has no {' and no '.join(default)}" if default else "it is not given"
        advice = f"give it: --set {name}=COLUMN"
        advice += f", or leave its condition out: --set {name}=" if self._parameters[name].optional else ""
        raise Wrong("query_parameter", f"{self._template}: {name}: {missing}", advice)

    def columns(self, name: str) -> tuple[str, ...]:
        """The columns that the parameter `name` means, none where it is empty."""
        return tuple(self._known(name, each.strip()) for each in self._text(name).split(",") if each.strip())

    def number(self, name: str) -> str:
        """The number of the parameter `name`, as SQL."""
        text = self._text(name)
        parameter = self._parameters[name]
        try:
            value = float(text)
        except ValueError:
            return self._refuse(name, text, "it is a number")
        if not (math.isfinite(value) and parameter.least <= value <= parameter.most):
            return self._refuse(name, text, f"it lies between {parameter.least:g} and {parameter.most:g}")
        # Without an exponent, which not every place of Qserv's grammar may take.
        return np.format_float_positional(value, trim="0")

    def whole(self, name: str) -> str:
        """The whole number of the parameter `name`, as SQL; empty where it may be and is."""
        text = self._text(name)
        if text and not (re.fullmatch(r"-?[0-9]{1,20}", text) and int(text) >= self._parameters[name].least):
            return self._refuse(name, text, "it is a whole number")
        return str(int(text)) if text else ""

    def identity(self, name: str, column: str) -> str:
        """The key of the parameter `name` as SQL, a number or text as `column` has it."""
        text = self._text(name)
        if self.table.column(column).datatype not in ("char", "string", "unicode", "text"):
            return self.whole(name) or self._refuse(name, text, "it is a whole number")
        if not text or re.search(r"['\"\\\x00-\x1f\x7f]", text):
            return self._refuse(name, text, "a key has no quotes, backslashes or control characters")
        return f"'{text}'"

    def _text(self, name: str) -> str:
        if name in self._given:
            return str(self._given[name]).strip()
        if not self._parameters[name].default:
            advice = f"give it: --set {name}=VALUE"
            raise Wrong("query_parameter", f"{self._template} needs {name} ({self._parameters[name].kind})", advice)
        return self._parameters[name].default[0]

    def _known(self, name: str, column: str) -> str:
        if column and column not in self._columns:
            near = get_close_matches(column, self._columns, n=1)
            return self._refuse(name, column, f"did you mean {near[0]}?" if near else "name a column of the table")
        if not column and not self._parameters[name].optional and "" not in self._parameters[name].default:
            return self._refuse(name, column, "it cannot be empty")
        return column

    def _refuse(self, name: str, value: str, advice: str) -> str:
        text = f"{self._template}: {name} of table {self.table.name} cannot be {value[:80]!r}"
        raise Wrong("query_parameter", text, advice)


def quoted(name: str) -> str:
    """A table's or column's name in backticks."""
    return f"`{name.replace('`', '``')}`"
