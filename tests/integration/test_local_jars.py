"""Kafka's jars come from Maven by the shipped pom, are held to their digests, and are mended where one was spoilt."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from doubles.early import Early

from stream.errors import Fatal
from stream.local import jars

EARLY = {"fetched": jars.kafka_jars}


@pytest.fixture(scope="module")
def fetched(early: Early) -> Path:
    folder: Path = early.outcome("fetched")
    return folder


def test_maven_brings_just_what_the_digests_name(fetched: Path) -> None:
    assert {path.name for path in fetched.iterdir()} == set(jars.digests())
    assert jars.lacking(fetched) == []


def test_a_spoilt_and_a_missing_jar_are_noticed_and_replaced(fetched: Path) -> None:
    spoilt, missing = sorted(jars.digests())[:2]
    (fetched / spoilt).write_bytes(b"spoilt")
    (fetched / missing).unlink()
    assert jars.lacking(fetched) == [spoilt, missing]
    assert jars.lacking(jars.kafka_jars(fetched)) == []


def test_what_maven_brought_with_other_bytes_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    false_maven = tmp_path / "bin" / "mvn"
    false_maven.parent.mkdir()
    false_maven.write_text("#!/bin/sh\nexit 0\n")
    false_maven.chmod(0o755)
    java = shutil.which("java")
    assert java is not None
    monkeypatch.setenv("PATH", f"{false_maven.parent}:{Path(java).parent}:/bin")
    with pytest.raises(Fatal, match="kafka-clients") as raised:
        jars.kafka_jars(tmp_path / "kafka")
    assert raised.value.code == "jars_failed"
    assert list((tmp_path / "kafka").iterdir()) == []


def test_the_folder_is_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(jars.SETTING, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert jars.default_folder() == tmp_path / "skyburst" / f"kafka-{jars.VERSION}"
    monkeypatch.setenv(jars.SETTING, str(tmp_path / "elsewhere"))
    assert jars.default_folder() == tmp_path / "elsewhere"
