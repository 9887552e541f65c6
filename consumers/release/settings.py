"""Settings of the release verbs: where Qserv is, and how it is loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import ByteSize, Field, PositiveFloat, PositiveInt, SecretStr

from stream.cli.options import options_of
from stream.errors import Wrong
from stream.layers import Layered, SecretUrl, env_of, flag_of, is_secret

F = TypeVar("F", bound=Callable[..., Any])


class ReleaseSettings(Layered):
    """What loading, publishing and proving need to know."""

    table: ClassVar[str] = "release"

    qserv: str | None = Field(default=None, description="Qserv's ingest controller, e.g. http://qserv:25081.")
    qserv_auth_key: SecretStr | None = Field(default=None, description="Key of requests that have an effect.")
    qserv_admin_key: SecretStr | None = Field(
        default=None, description="Administrator's key: to unpublish, and to delete what is published."
    )
    release_ledger: SecretUrl | None = Field(
        default=None, description="Ledger of the load, a SQLAlchemy URL; load.sqlite in the release's folder if none."
    )
    release_url: str | None = Field(
        default=None,
        description="URL under which the workers find the release's folder; file:// and its path if none.",
    )
    release_by: Literal["reference", "value"] = Field(
        default="reference", description="Whether workers fetch the files, or are sent them."
    )
    release_transaction_bytes: ByteSize = Field(
        default=ByteSize(8 << 30), ge=1, description="Most bytes of a super-transaction."
    )
    release_least_transaction_bytes: ByteSize = Field(
        default=ByteSize(16 << 20),
        ge=1,
        description="Bytes below which a super-transaction is not cut; a table of ten times as many gets ten.",
    )
    release_merge_bytes: ByteSize = Field(
        default=ByteSize(64 << 20), ge=0, description="Files of one chunk are merged up to this size; 0 merges none."
    )
    release_in_flight: PositiveInt = Field(
        default=4096, description="Most contributions that are submitted and not yet loaded, of one loader."
    )
    release_worker_limit: PositiveInt | None = Field(
        default=None,
        description="Contributions of this database that a worker loads at once (ASYNC_PROC_LIMIT); its own if none.",
    )
    release_transactions: PositiveInt = Field(default=4, description="Super-transactions that one loader has open.")
    release_lease_s: PositiveFloat = Field(
        default=60.0, description="Seconds without a sign of life after which another loader takes over."
    )
    release_unreachable_s: PositiveFloat = Field(
        default=300.0, description="Seconds that a service which cannot be reached is waited for."
    )
    release_publish_s: PositiveFloat = Field(
        default=600.0, description="Seconds that a publication is waited for before it is looked at."
    )
    release_readings: PositiveInt = Field(
        default=3, description="How often a worker is asked to read again what it could not read."
    )
    release_check_files: bool = Field(
        default=True, description="Whether local files are held against the manifest's SHA-256 before each commit."
    )

    def need(self, name: str) -> str:
        """A setting that the verb cannot do without; secrets in plain.

        Raises
        ------
        Wrong
            ``setting``: it is not given.
        """
        value = getattr(self, name)
        if value is None:
            flag = flag_of(name) + ("-file" if is_secret(type(self).model_fields[name]) else "")
            raise Wrong("setting", f"{name} is not given", f"give {flag} or {env_of(type(self), name)}")
        return str(value.get_secret_value() if isinstance(value, SecretStr) else value)

    def secret(self, name: str) -> str:
        """A secret in plain, empty where it is not given."""
        value = getattr(self, name)
        return "" if value is None else str(value.get_secret_value())


def release_options(function: F) -> F:
    """Give a verb all settings of `ReleaseSettings` as flags, handed over as ``settings``."""
    return options_of(ReleaseSettings, "settings")(function)
