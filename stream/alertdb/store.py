"""Where segments lie, as a setting names it: on a disk, or in an object store."""

from __future__ import annotations

from pathlib import Path

from stream.alertdb.local import LocalStore
from stream.alertdb.port import SegmentStore


def open_store(setting: str) -> SegmentStore:
    """Open the store that a setting names: a folder, or the URL of an object store (``s3://``, ``memory://``, ...)."""
    if "://" in setting:
        from stream.alertdb.objects import ObjectStore

        return ObjectStore.at(setting)
    return LocalStore(Path(setting))
