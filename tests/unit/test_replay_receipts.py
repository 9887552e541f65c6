"""What a run keeps of itself: ranges of numbers, a file whole or not at all, the list of what is missing."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replay_doubles import alert

from producers.acknowledged import Acknowledged
from producers.pace import Flat
from producers.receipts import Identity, Receipt, Receipts, Unacknowledged
from producers.replay import Outcome, Plan, Tally
from producers.replay_command import _earlier, _report, _save
from stream.cli.group import run as run_command
from stream.errors import Wrong


@given(st.permutations(range(40)), st.integers(0, 40))
def test_ranges_are_the_set_whatever_the_order(order: list[int], some: int) -> None:
    done = Acknowledged()
    for number in order[:some]:
        done.add(number)
    ranges = done.ranges()
    assert {number for start, end in ranges for number in range(start, end)} == set(order[:some])
    assert all(end < start for (_, end), (start, _) in pairwise(ranges))
    assert len(done) == some


@given(st.sets(st.integers(0, 50)), st.sets(st.integers(0, 50)))
def test_before_tells_only_what_an_earlier_run_had(earlier: set[int], now: set[int]) -> None:
    first = Acknowledged()
    for number in earlier:
        first.add(number)
    done = Acknowledged(first.ranges())
    found = set()
    for number in range(51):
        if done.before(number):
            found.add(number)
        elif number in now:
            done.add(number)
    assert found == earlier
    assert len(done) == len(earlier | now)


def test_an_id_is_given_to_one_run(tmp_path: Path) -> None:
    receipts = Receipts(tmp_path)
    receipts.save(Receipt("r1", ["a"], "alerts", 5.0, acknowledged=[(0, 4)]))
    with pytest.raises(Wrong) as raised:
        _earlier(receipts, ["a"], "alerts", "r1", resume=False)
    assert raised.value.code == "run"
    assert _earlier(receipts, ["a"], "alerts", "r2", resume=False).receipt.run == "r2"
    assert _earlier(receipts, ["a"], "alerts", "r1", resume=True).receipt.acknowledged == [(0, 4)]


def test_a_run_that_one_process_sends_is_refused_to_another(tmp_path: Path) -> None:
    receipts = Receipts(tmp_path)
    receipts.save(Receipt("r1", ["a.wire"], "alerts", 5.0))
    again = [sys.executable, "-P", "-m", "stream.cli", "replay", "a.wire", "--to", "alerts", "--state", str(tmp_path)]
    with receipts.hold("r1"), receipts.hold("r2"):
        for options, said in ((["--resume"], "run r1 is being sent"), (["--run", "r2"], "run r2 is being sent")):
            done = subprocess.run([*again, *options], capture_output=True, text=True, check=False)
            assert done.returncode == 2 and said in done.stderr
    with receipts.hold("r1"):
        pass


@pytest.mark.parametrize("name", ["../r1", "", "a b", "r" * 65])
def test_a_run_has_a_name_that_a_file_can_have(name: str, tmp_path: Path) -> None:
    with pytest.raises(Wrong, match="is no name for a run"), Receipts(tmp_path / "runs").hold(name):
        pass


def test_a_receipt_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    receipts = Receipts(tmp_path / "new")
    receipt = Receipt("r1", ["a", "b"], "alerts", 5.0, 10, acknowledged=[(0, 4), (6, 10)])
    receipt.stream = ("cluster", "id")
    receipt.identity = [Identity("a", "1 packets", "0a"), Identity("b", "2 packets", "0b")]
    failed = Unacknowledged.of(4, alert(1, 4), "broker_away", "gone")
    receipts.save(receipt, [failed])
    assert receipts.find(["a", "b"], "alerts") == receipt
    assert receipts.unacknowledged("r1") == {4: failed}
    receipts.save(receipt)
    assert receipts.unacknowledged("r1") == {}
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["r1.json", "r1.unacknowledged.jsonl"]


def test_the_last_run_of_the_same_sources_and_topic_is_found(tmp_path: Path) -> None:
    receipts = Receipts(tmp_path)
    for run, sources, topic, begun in (("r1", "a", "t", 1.0), ("r2", "a", "t", 9.0), ("r3", "b", "t", 10.0)):
        receipts.save(Receipt(run, [sources], topic, begun))
    assert receipts.find(["a"], "t").run == "r2"
    assert receipts.find(["a"], "t", "r1").run == "r1"
    for sources, topic, run, code in (
        (["a"], "u", None, "no_run"),
        (["a"], "t", "r9", "no_run"),
        (["a"], "t", "r3", "other_source"),
    ):
        with pytest.raises(Wrong) as caught:
            receipts.find(sources, topic, run)
        assert caught.value.code == code


def test_a_run_is_held_against_what_its_sources_are_now() -> None:
    then = [Identity("a", "3 packets", "0a"), Identity("b", "2 packets", "0b")]
    receipt = Receipt("r1", ["a", "b"], "alerts", 5.0, identity=then)
    assert receipt.same(list(then))
    for now, said in (
        (Identity("b", "7 packets", "1b"), "then 2 packets, now 7 packets"),
        (Identity("b", "2 packets", "1b"), "of other names, sizes, times or order"),
    ):
        with pytest.raises(Wrong, match=said) as caught:
            receipt.same([then[0], now])
        assert caught.value.code == "source_changed" and "r1" in str(caught.value)
    assert not Receipt("r1", ["a", "b"], "alerts", 5.0).same(then)


@pytest.mark.parametrize("identity", ["[]", '[{"source": "a"}]', "5"])
def test_identities_that_are_not_those_of_the_sources_are_damage(identity: str, tmp_path: Path) -> None:
    (tmp_path / "r1.json").write_text(
        f'{{"run": "r1", "sources": ["a"], "topic": "t", "begun": 1, "identity": {identity}}}'
    )
    with pytest.raises(Wrong) as caught:
        Receipts(tmp_path).find(["a"], "t", "r1")
    assert caught.value.code == "run_damaged"


def test_a_damaged_receipt_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "r1.json").write_text("{")
    with pytest.raises(Wrong) as caught:
        Receipts(tmp_path).find(["a"], "t", "r1")
    assert caught.value.code == "run_damaged"


@pytest.mark.parametrize("below", ["file", "file/sub", "closed"])
def test_a_run_that_could_not_be_kept_is_not_begun(
    tmp_path: Path, below: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "closed").mkdir()
    allowed = os.access  # a test that runs as root may write everywhere
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path / "closed" and allowed(path, mode))
    with pytest.raises(Wrong, match=r"cannot be kept in .*; name another folder with --state") as caught:
        Receipts(tmp_path / below).open()
    assert caught.value.code == "output"
    nobody = ["--to", "alerts", "--bootstrap", "127.0.0.1:1"]
    assert run_command(["replay", "synthetic:visits=1", *nobody, "--state", str(tmp_path / below)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "unexpected" not in err and "--state" in err


def test_a_run_that_cannot_be_noted_any_more_says_so_and_keeps_what_was_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipts, receipt = Receipts(tmp_path), Receipt("r1", ["a"], "alerts", 5.0)
    receipts.save(receipt)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    receipt.taken = 7
    with pytest.raises(Wrong, match=r"run r1 cannot be noted in .*No space left.*--resume") as caught:
        receipts.save(receipt)
    assert caught.value.code == "output" and receipts.find(["a"], "alerts").taken == 0


@pytest.mark.parametrize(("code", "listed"), [("output", False), ("broker_away", True)])
def test_the_list_of_what_is_missing_is_named_where_there_is_one(
    code: str, listed: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = Plan("r1", "alerts", "lsst", None, Flat(), finish_within_s=1.0)
    ended = Wrong(code, "it ended")
    with pytest.raises(Wrong) as caught:
        _report(Outcome(Tally(), {}, ended), plan, Receipts(tmp_path), as_json=False)
    told = capsys.readouterr()
    assert caught.value is ended and "acknowledged" in told.out
    assert ("has the list" in told.err) is listed


def test_a_topic_that_was_made_again_or_is_of_another_cluster_is_not_gone_on_with() -> None:
    receipt = Receipt("r1", ["a"], "alerts", 5.0)
    receipt.same_topic(("c", "first"))
    receipt.same_topic(("c", "first"))
    for now, said in ((("c", "second"), "was made again"), (("d", "first"), "of another cluster")):
        with pytest.raises(Wrong, match=said) as caught:
            receipt.same_topic(now)
        assert caught.value.code == "other_source"


def test_a_run_that_was_stopped_owes_its_announcements(tmp_path: Path) -> None:
    receipts, receipt = Receipts(tmp_path), Receipt("r1", ["a"], "alerts", 5.0)
    for ended_by in (KeyboardInterrupt(), None):
        _save(receipts, receipt, Acknowledged(), Outcome(Tally(), {}, ended_by))
        assert receipts.find(["a"], "alerts").announced is (ended_by is None)


def test_a_source_that_cannot_be_begun_is_not_said_to_be_sent_by_resuming(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for taken, said in ((0, False), (5, True)):
        with pytest.raises(Wrong, match="no size"):
            ended = Outcome(Tally(taken=taken), {}, Wrong("unknown_size", "the model has no size 6k"))
            _report(ended, Plan("run", "alerts"), Receipts(tmp_path), as_json=False)
        assert ("--resume" in capsys.readouterr().err) == said
