"""What verify and rebuild write down goes with them, and a temporary folder without room is said in one line."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from stream.audit.catalogue import Catalogue
from stream.audit.notepad import Notepad
from stream.audit.scratch import Scratch
from stream.errors import Transient


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("made", [Catalogue, Scratch])
def test_the_file_goes_with_what_it_was_for(made: type[Catalogue | Scratch], temporary: Path) -> None:
    with made():
        assert len(list(temporary.iterdir())) == 1
    assert not list(temporary.iterdir())


def test_a_folder_without_room_is_named_with_what_to_do(temporary: Path) -> None:
    with pytest.raises(Transient) as raised, Notepad("CREATE TABLE said (body TEXT);", "test") as notes:
        notes._base.execute("PRAGMA max_page_count = 8")
        notes._base.executemany("INSERT INTO said VALUES (?)", ([("x" * 1000)] for _ in range(100)))
    assert raised.value.code == "temporary_full" and str(temporary) in raised.value.message
    assert "TMPDIR" in raised.value.advice and not list(temporary.iterdir())


def test_other_errors_stay_what_they_are(temporary: Path) -> None:
    with pytest.raises(sqlite3.OperationalError, match="no such table"), Notepad("", "test") as notes:
        notes._base.execute("SELECT 1 FROM nowhere")
    with pytest.raises(KeyError), Notepad("", "test"):
        raise KeyError("ours")
    assert not list(temporary.iterdir())
