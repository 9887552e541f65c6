"""What a disk says, as errors of ours."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from stream.errors import Transient


@contextmanager
def disk(what: str) -> Iterator[None]:
    """Write something.

    Raises
    ------
    Transient
        ``disk_full``: there is no room, or no quota. ``disk``: it cannot be written for another reason.
    """
    try:
        yield
    except OSError as error:
        where = f"{what}: {error.filename or 'a file'} cannot be written ({error.strerror})"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            advice = "make room, and run release partition again: it goes on where it was"
            raise Transient("disk_full", where, advice) from error
        raise Transient("disk", where, "see to the disk, and run release partition again: it goes on") from error
