"""Settings of ``skyburst release query``: where Qserv answers SQL, and what the release's tables are."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from stream.errors import Wrong
from stream.layers import HomePath, Layered, SecretUrl, env_of, flag_of


class QuerySettings(Layered):
    """What asking needs to know: the table ``[query]`` of the config file."""

    table: ClassVar[str] = "query"

    qserv_sql: SecretUrl | None = Field(
        default=None,
        description="Where Qserv takes SQL: mysql://USER:PASSWORD@HOST:4040/DATABASE, or https://…:4048/DATABASE.",
    )
    qserv_sql_plain: bool = Field(
        default=False, description="That is a plain MariaDB, without Qserv's functions: standard queries do without."
    )
    release_description: HomePath | None = Field(
        default=None,
        description="The release's felis file: standard queries take the names of tables and columns from it.",
    )

    def need(self, name: str) -> str:
        """A setting that the call cannot do without, a secret in plain.

        Raises
        ------
        Wrong
            ``setting_missing``: it is not given.
        """
        value = getattr(self, name)
        if value is None:
            raise Wrong(
                "setting_missing", f"{name} is not set", f"give {flag_of(name)} or set {env_of(type(self), name)}"
            )
        return value.get_secret_value() if isinstance(value, SecretUrl) else str(value)
