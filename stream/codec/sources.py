"""Writer schemas from a folder or a package that carries them, and the opening of any source by its setting."""

from __future__ import annotations

import importlib
import json
import threading
import tomllib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from stream.codec.gate import parse_json
from stream.codec.lookup import SchemaAway, SchemaSource, SchemaUnknown
from stream.codec.references import whole
from stream.codec.registry import RegistrySchemas
from stream.codec.schema import WriterSchema
from stream.errors import Poison, SkyburstError, Wrong

__all__ = ["FolderSchemas", "SchemaAway", "SchemaSource", "SchemaUnknown", "open_schemas"]


class FolderSchemas:
    """Writer schemas from a folder: ``<id>.avsc``, or a tree ``<major>/<minor>/*.alert.avsc``.

    In a tree the id is major * 100 + minor, and types that a file only names lie in files beside it
    (``<full name>.avsc``). A schema that was read once stays; a new file is found when it is first asked for.

    Parameters
    ----------
    folder
        Where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[int, WriterSchema] = {}
        self._lock = threading.Lock()

    def get(self, schema_id: int) -> WriterSchema:
        """See `SchemaSource.get`."""
        with self._lock:
            if schema_id not in self._known:
                self._known[schema_id] = self._read(schema_id)
            return self._known[schema_id]

    def ids(self) -> list[int]:
        """Every id that the folder has now."""
        return sorted(set(self._ids()))

    def _ids(self) -> Iterator[int]:
        for path in self.folder.glob("*.avsc"):
            if path.stem.isdecimal():
                yield int(path.stem)
        for path in self.folder.glob("*/*/*.alert.avsc"):
            if path.parts[-3].isdecimal() and path.parts[-2].isdecimal():
                yield int(path.parts[-3]) * 100 + int(path.parts[-2])

    def _read(self, schema_id: int) -> WriterSchema:
        flat = self.folder / f"{schema_id}.avsc"
        tree = self.folder / str(schema_id // 100) / str(schema_id % 100)
        try:
            if flat.is_file():
                return WriterSchema.of(_text(flat), schema_id)
            for path in sorted(tree.glob("*.alert.avsc")):
                return WriterSchema.of(_resolved(path), schema_id)
            if any(True for _ in self._ids()):
                raise SchemaUnknown(schema_id, str(self.folder))
        except OSError as error:
            raise SchemaAway(f"the schemas in {self.folder} cannot be read: {error}") from error
        raise SchemaAway(f"there are no schemas in {self.folder}")


def _resolved(path: Path) -> str:
    """The text of a schema together with the files that it names; one that it does not name may be anything."""
    text, beside = _text(path), []
    unread: Exception | None = None
    for other in sorted(path.parent.glob("*.avsc")):
        try:
            if other != path:
                parse_json(found := _text(other))
                beside.append(found)
        except (OSError, SkyburstError) as error:
            unread = error
    made = whole(text, beside)
    if unread is not None:
        try:
            WriterSchema.of(made)
        except Poison:
            if isinstance(unread, Poison):
                raise unread from None
            raise SchemaAway(f"a file beside {path} cannot be read: {unread}") from unread
    return made


def _text(path: Path) -> str:
    """The text of one file; one that is no JSON may still be on its way into the folder."""
    try:
        text = path.read_bytes().decode()
        json.loads(text)
    except RecursionError:
        return text
    except UnicodeDecodeError as error:
        raise SchemaAway(f"{path} is not UTF-8: {error}") from error
    except ValueError as error:
        raise SchemaAway(f"{path} is not JSON, or not all of it is there yet: {error}") from error
    return text


def _packages() -> dict[str, Any]:
    return tomllib.loads(resources.files("schemas").joinpath("packages.toml").read_text(encoding="utf-8"))


def open_schemas(setting: str | None = None, *, cache: Path | None = None) -> SchemaSource:
    """Open the source that a setting names.

    Parameters
    ----------
    setting
        The URL of a registry, a folder, or a package that ``schemas/packages.toml`` lists; None for the one that it
        names as the default.
    cache
        Folder in which a registry's schemas are kept for ever; None keeps them in memory alone.

    Raises
    ------
    Wrong
        ``schema_source``: it is none of those.
    """
    packages = _packages()
    name = packages["default"] if setting is None else setting
    if name.startswith(("http://", "https://")):
        return RegistrySchemas(name, cache)
    if name in packages["packages"]:
        module, _, factory = packages["packages"][name].partition(":")
        source: SchemaSource = getattr(importlib.import_module(module), factory)()
        return source
    if Path(name).is_dir():
        return FolderSchemas(Path(name))
    known = ", ".join(sorted(packages["packages"]))
    raise Wrong("schema_source", f"no schemas at {name!r}", f"give a registry's URL, a folder, or one of: {known}")
