"""A run is resumed only on the sources that it began with: a number must mean the same message."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.cli.group import run
from stream.transport.embedded import EmbeddedBroker

TOPIC = "alerts"


@pytest.fixture
def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedBroker]:
    monkeypatch.delenv("SKYBURST_SURVEY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with EmbeddedBroker() as made:
        made.create_topic(TOPIC, 1)
        monkeypatch.setenv("SKYBURST_BOOTSTRAP", made.bootstrap)
        yield made


@pytest.mark.usefixtures("broker")
def test_a_source_that_changed_is_refused_before_anything_is_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "packets"
    folder.mkdir()
    for name in "bc":
        (folder / f"{name}.wire").write_bytes(b"packet " + name.encode())

    def replayed(*flags: str) -> tuple[int, str, dict[str, int]]:
        code = run(["replay", str(folder), "--to", TOPIC, "--pace", "max", "--json", *flags])
        said = capsys.readouterr()
        return code, said.err, json.loads(said.out or "{}")

    assert replayed()[2]["acknowledged"] == 2
    (folder / "a.wire").write_bytes(b"packet a")
    for _ in range(2):
        code, err, sent = replayed("--resume")
        assert (code, sent, err.count("\n")) == (2, {}, 1)
        assert f"{folder} is not the one" in err and "then 2 packets" in err and "now 3 packets" in err
    (folder / "a.wire").unlink()
    code, err, told = replayed("--resume")
    assert (code, told["acknowledged before"], told["sent"]) == (0, 2, 0)

    (receipt,) = (tmp_path / "state" / "skyburst" / "replay").glob("*.json")
    old = json.loads(receipt.read_text())
    del old["identity"]
    receipt.write_text(json.dumps(old))
    code, err, told = replayed("--resume")
    assert (code, told["sent"]) == (0, 0) and "begun by an earlier skyburst" in err
    (folder / "a.wire").write_bytes(b"packet a")
    code, err, _ = replayed("--resume")
    assert code == 2 and "not the one" in err
