"""Where writer schemas are looked up by id, and the two ways in which that can fail."""

from __future__ import annotations

from typing import Protocol

from stream.codec.schema import WriterSchema
from stream.errors import Held, Transient


class SchemaAway(Transient):
    """The source is down, or there and empty: its schemas may be back in a moment (code ``registry_away``)."""

    def __init__(self, message: str) -> None:
        advice = "it is asked again; check that the source is up and filled, and lets this user read it"
        super().__init__("registry_away", message, advice)

    def __reduce__(self) -> tuple[type[SchemaAway], tuple[str]]:  # type: ignore[override]
        return type(self), (self.message,)


class SchemaUnknown(Held):
    """A source that is there and not empty does not have the id (code ``schema_unknown``)."""

    def __init__(self, schema_id: int, source: str) -> None:
        super().__init__(
            "schema_unknown",
            f"{source} has no schema with the id {schema_id}",
            "register the schema there; the packets are taken once it is found",
        )
        self.schema_id = schema_id
        self.source = source

    def __reduce__(self) -> tuple[type[SchemaUnknown], tuple[int, str]]:  # type: ignore[override]
        return type(self), (self.schema_id, self.source)


class SchemaSource(Protocol):
    """Gives writer schemas by the id that stands in a message's frame. For any number of threads."""

    def get(self, schema_id: int) -> WriterSchema:
        """The schema.

        Raises
        ------
        SchemaAway
            The source cannot be asked, or has nothing at all.
        SchemaUnknown
            It has other schemas, and not this one.
        Poison
            ``schema_refused``: it has the schema, which does not pass the gate.
        """
        ...
