"""What the daemon does about its memory as it starts."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
from consumers.ingest.memory import leave_pandas_out
leave_pandas_out()
import consumers.ingest.build, stream.level1.literals
import pyarrow as pa
assert pa.array(["a", None]).to_pylist() == ["a", None]
print("pandas" in sys.modules)
import pandas
print(pandas.Series([1, 2]).sum(), len(sys.meta_path))
"""


def test_the_daemon_does_without_pandas_which_can_be_imported_all_the_same() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=True)
    plain = subprocess.run(
        [sys.executable, "-c", "import pandas, sys; print(len(sys.meta_path))"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == ["False", "3", plain.stdout.strip()]
