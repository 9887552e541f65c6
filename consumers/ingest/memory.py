"""What the daemon does about its memory before its first thread starts."""

from __future__ import annotations

import ctypes
import sys
from importlib.abc import MetaPathFinder

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGEST_FROM_HEAP = 32 << 20
_KEPT = 1 << 30


def reuse_memory() -> bool:
    """Tell glibc to serve large blocks from one heap and to keep what is freed; before the first thread is started.

    Memory that was touched once is used again: in a virtual machine a fresh page costs seven times a used one. Batches
    of tens of megabytes come and go several times a second. By default each would be mapped afresh, page by page, and
    every thread would have a heap of its own: measured, 45 instead of 30 µs a packet of 62 kB for polling alone, and
    120 MB more at the peak.

    Returns
    -------
    bool
        Whether there is a glibc to tell; elsewhere nothing is changed.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_ARENA_MAX, 1), (_MMAP_THRESHOLD, _LARGEST_FROM_HEAP), (_TRIM_THRESHOLD, _KEPT))
    return all(mallopt(name, value) == 1 for name, value in settings)


def leave_pandas_out() -> None:
    """Have pyarrow find no pandas: it imports that at its first scalar, for 30 MB, wherever it is installed.

    Nothing of the daemon gives pyarrow anything of pandas, or wants it from there. Whoever imports it later gets it.
    """
    if "pandas" in sys.modules:
        return
    import pyarrow as pa

    sys.meta_path.insert(0, _NO_PANDAS)
    try:
        pa.scalar(0)
    finally:
        sys.meta_path.remove(_NO_PANDAS)


class _NoPandas(MetaPathFinder):
    """Finds that there is none."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("pandas is left out here", name=name)


_NO_PANDAS = _NoPandas()
