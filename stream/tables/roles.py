"""The three MariaDB users: ingest writes rows and never deletes, reader only reads, migrate owns the tables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, get_args

from stream.errors import Wrong

Role = Literal["ingest", "reader", "migrate"]

GRANTS: Mapping[Role, str] = {
    "ingest": "SELECT, INSERT, UPDATE",
    "reader": "SELECT",
    "migrate": "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX",
}

_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")
_HOST = re.compile(r"[A-Za-z0-9_.:%/-]{1,255}")


def roles_sql(
    database: str, passwords: Mapping[Role, str], *, host: str = "%", prefix: str = "skyburst_", tls: bool = False
) -> list[str]:
    """Statements that make the three users, or bring users that are there to these rights and passwords.

    Parameters
    ----------
    database
        Name of the database; it is made where it is not there.
    passwords
        One a role.
    host
        From where the users may connect, as MariaDB writes it.
    prefix
        What comes before the role in a user's name.
    tls
        Whether connections without TLS are refused.

    Raises
    ------
    Wrong
        ``roles``: a name with other than letters, digits and underscores, or a role without a password.
    """
    for name in (database, prefix + "migrate"):
        if not _NAME.fullmatch(name):
            raise Wrong("roles", f"{name!r} cannot be a name here", "use letters, digits and underscores")
    if not _HOST.fullmatch(host):
        raise Wrong("roles", f"{host!r} cannot be a host here")
    statements = [f"CREATE DATABASE IF NOT EXISTS `{database}` CHARACTER SET utf8mb4"]
    for role in get_args(Role):
        if not passwords.get(role):
            raise Wrong("roles", f"the role {role} has no password", "give one for each of the three")
        user = f"'{prefix}{role}'@'{host}'"
        secret = _quoted(passwords[role])
        need = " REQUIRE SSL" if tls else " REQUIRE NONE"
        statements += [
            f"CREATE USER IF NOT EXISTS {user} IDENTIFIED BY {secret}",
            f"ALTER USER {user} IDENTIFIED BY {secret}{need}",
            f"GRANT USAGE ON *.* TO {user}",
            f"REVOKE ALL PRIVILEGES, GRANT OPTION FROM {user}",
            # An underscore stands for any character in the database's name of a GRANT.
            f"GRANT {GRANTS[role]} ON `{database.replace('_', chr(92) + '_')}`.* TO {user}",
        ]
    return statements


def _quoted(secret: str) -> str:
    """A string literal that reads alike in every sql_mode, since nothing in it needs escaping."""
    if not secret.isprintable() or any(character in "'\\" for character in secret):
        raise Wrong("roles", "a password has a quote, a backslash or a control character", "choose another")
    return f"'{secret}'"
