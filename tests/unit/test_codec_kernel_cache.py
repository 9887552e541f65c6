"""The compiled kernel is kept in the folder that a setting names, and never outlives its sources."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stream.codec import kernel

LOAD = """
import sys
from stream.codec import kernel
if sys.argv[1:]:
    kernel.SOURCES = int(sys.argv[1])
loaded = kernel.open_kernel()
print(sum(loaded.stats.cache_hits.values()), kernel._stamp(loaded) == kernel.SOURCES)
"""


def load(cache: Path, *sources: str) -> str:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    ran = subprocess.run(
        [sys.executable, "-c", LOAD, *sources], env=environment, capture_output=True, text=True, timeout=600, check=True
    )
    return ran.stdout.strip()


def test_the_kernel_is_compiled_once_and_again_when_any_of_its_sources_changed(tmp_path: Path) -> None:
    assert load(tmp_path) == "0 True"
    assert load(tmp_path) == "1 True"
    assert load(tmp_path, "12345") == "0 True"
    assert load(tmp_path, "12345") == "1 True"


def test_a_file_of_the_cache_that_was_cut_short_is_made_again(tmp_path: Path) -> None:
    assert load(tmp_path) == "0 True"
    for ending in ("nbi", "nbc"):
        (file,) = tmp_path.glob(f"*/*.{ending}")
        os.truncate(file, file.stat().st_size // 3 if ending == "nbc" else 0)
        assert load(tmp_path) == "0 True"
        assert load(tmp_path) == "1 True"


@pytest.mark.parametrize(
    "error", [RuntimeError("cannot cache function: no locator available"), OSError(28, "No space left on device")]
)
def test_where_no_folder_can_be_written_the_kernel_is_compiled_without_one(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def njit(signature: Any, *, cache: bool = False, **options: Any) -> Any:
        if cache:
            raise error
        return lambda function: (function, options)

    monkeypatch.setattr(kernel.nb, "njit", njit)
    function, options = kernel._load()
    assert function is kernel.run
    assert options["nogil"]
