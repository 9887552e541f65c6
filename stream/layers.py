"""Where a setting's value comes from: flags, environment, secret files, config file, the first that has one."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from stream.errors import Wrong
from stream.redact import redact

TABLES = ("ingest", "release", "query")
"""The tables of the config file; keys outside them are what all verbs share."""


_PASSWORD = re.compile(r"(?P<head>://[^\s:/@]*):.*@", re.DOTALL)


class SecretUrl(SecretStr):
    """A URL or path that may carry a password: shown without it, whole only by ``get_secret_value()``."""

    def _display(self) -> str:
        return _shown(self.get_secret_value())


def from_home(path: Path) -> Path:
    """The path, whose ``~`` at the beginning is a home folder: shells leave it alone behind a flag, TOML everywhere."""
    with suppress(RuntimeError):  # nobody has that name
        return path.expanduser()
    return path


def at_home(value: object) -> object:
    """What a setting that may be a path is given, as `from_home`; anything else, a URL for instance, as it is."""
    return str(from_home(Path(value))) if isinstance(value, str | Path) and str(value).startswith("~") else value


HomePath = Annotated[Path, BeforeValidator(at_home)]


def _shown(url: str) -> str:
    """As `redact` does it in a line of text, where a blank ends a URL; here the whole text is one."""
    return redact(_PASSWORD.sub(r"\g<head>:***@", url))


def is_secret(field: FieldInfo) -> bool:
    """Whether the setting's value may hold a secret."""
    return "Secret" in str(field.annotation)


def require_private(path: Path, what: str) -> None:
    """Refuse a secret's file that everybody on the machine can read; `what` names the setting."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise Wrong("setting", f"{what}: {path} cannot be read ({error.strerror})", "check the path") from error
    if mode & stat.S_IROTH:
        raise Wrong("secret_readable", f"{what}: everybody on this machine can read {path}", f"chmod o-r {path}")


def read_secret(path: Path, what: str) -> str:
    """The secret in a private file, without the end of its line; `what` names the setting.

    Raises
    ------
    Wrong
        ``setting``: it cannot be read. ``secret_readable``: everybody can.
    """
    path = from_home(path)
    require_private(path, what)
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "no UTF-8 text"
        raise Wrong("setting", f"{what}: {path} cannot be read ({why})", "check the path and its rights") from error


class _SecretFiles(PydanticBaseSettingsSource):
    """Secrets from the files that ``<VARIABLE>_FILE`` names."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        variable = f"{self.config.get('env_prefix', '')}{field_name}_FILE".upper()
        named = os.environ.get(variable)
        if not named or not is_secret(field):
            return None, field_name, False
        return read_secret(Path(named), variable), field_name, False

    def __call__(self) -> dict[str, Any]:
        found = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in found.items() if value is not None}


class _ConfigFile(PydanticBaseSettingsSource):
    """The keys of one table of the config file that the stronger sources named."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        named = self.current_state.get("config")
        if not named:
            return {}
        path = from_home(Path(str(named)))
        content = _read_toml(path)
        for name in TABLES:
            if not isinstance(content.get(name, {}), dict):
                raise Wrong("setting", f"{path}: {name} is no table", f"write [{name}], and its keys below")
        table = getattr(self.settings_cls, "table", "")
        values = content.get(table, {}) if table else {k: v for k, v in content.items() if k not in TABLES}
        fields = {name: field for name, field in self.settings_cls.model_fields.items() if name != "config"}
        for key, value in values.items():
            if key not in fields:
                near = get_close_matches(key, [*fields, *(() if table else TABLES)], n=1)
                advice = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(fields)}"
                raise Wrong("setting", f"{path}: no setting is called {table + '.' if table else ''}{key}", advice)
            if (is_secret(fields[key]) and _shown(str(value)) != str(value)) or "password" in key:
                require_private(path, f"{key} is a secret")
        return dict(values)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_piped(path) if path.is_fifo() else path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Wrong("setting", f"config file {path} cannot be read ({error.strerror})", "check --config") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Wrong("setting", f"config file {path} is no TOML: {error}", "mend the file") from error


@cache
def _piped(path: Path) -> str:
    """What came through a pipe, e.g. `--config <(…)`: it gives its text once, and several settings classes ask."""
    return path.read_text(encoding="utf-8")


class Layered(BaseSettings):
    """Settings from flags, environment, secret files and config file, the first that has one counting."""

    model_config = SettingsConfigDict(
        env_prefix="SKYBURST_", frozen=True, extra="forbid", hide_input_in_errors=True, env_ignore_empty=True
    )
    table: ClassVar[str] = ""

    config: Path | None = Field(default=None, description="TOML file with settings.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _SecretFiles(settings_cls), _ConfigFile(settings_cls)

    @classmethod
    def load(cls, flags: Mapping[str, object] | None = None, *, config: Path | None = None) -> Self:
        """The settings as `flags` (None counts as not given), environment and config file say.

        Raises
        ------
        Wrong
            A value that cannot be, an unknown key, or a secret that everybody can read; never shows a secret.
        """
        given: dict[str, Any] = {name: value for name, value in (flags or {}).items() if value not in (None, ())}
        path = config or os.environ.get("SKYBURST_CONFIG")
        if path and "config" not in given:
            given["config"] = Path(path)
        try:
            return cls(**given)
        except ValidationError as error:
            raise Wrong("setting", _first(error, cls), "see docs/reference/settings.md") from None


def _first(error: ValidationError, of: type[Layered]) -> str:
    found = error.errors(include_url=False, include_input=False, include_context=False)
    name = str(found[0]["loc"][0]) if found[0]["loc"] else ""
    of_it = [each for each in found if each["loc"][:1] == found[0]["loc"][:1]]
    what = "; or ".join(str(each["msg"]).removeprefix("Value error, ") for each in of_it)
    if not name:
        return redact(what)
    return redact(f"{name} ({flag_of(name)}, {env_of(of, name)}): {what}")


def flag_of(name: str) -> str:
    """The command-line flag of the setting `name`."""
    return "--" + name.replace("_", "-")


def env_of(of: type[Layered], name: str) -> str:
    """The environment variable of the setting `name`."""
    if name == "config":
        return "SKYBURST_CONFIG"
    return f"{of.model_config.get('env_prefix', '')}{name}".upper()
