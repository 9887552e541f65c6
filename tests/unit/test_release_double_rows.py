"""The double counts a file's rows as Qserv's parser does."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumers.release.double import loading


def counted_by_hand(content: bytes, escaped: bool) -> int:
    """Rows of a file, letter by letter."""
    rows, escape, open_row = 0, False, False
    for letter in content:
        open_row = True
        if letter == ord("\n") and not escape:
            rows, open_row = rows + 1, False
        escape = escaped and letter == ord("\\") and not escape
    return rows + open_row


@pytest.mark.parametrize("block", [1, 2, 7, 2**18])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(letters=st.lists(st.sampled_from(list(b"ab,\\\\\\\n\n")), max_size=60), escaped=st.booleans())
def test_escaped_newlines_end_no_row_wherever_a_block_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, letters: list[int], escaped: bool
) -> None:
    monkeypatch.setattr(loading, "BLOCK", block)
    path, content = tmp_path / "rows.txt", bytes(letters)
    path.write_bytes(content)
    assert loading.measured(path, escaped) == (len(content), counted_by_hand(content, escaped))
