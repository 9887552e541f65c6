"""The command: finds its verbs, stays light, ends with one line and the right code."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import click
import pytest

from stream.cli import group, lazy
from stream.cli.exits import EXIT_CODES, exit_code, leaf, line
from stream.cli.group import run, skyburst
from stream.errors import Fatal, Fenced, Held, Poison, Transient, Wrong


@pytest.fixture(autouse=True)
def fresh_verbs() -> Iterator[None]:
    forget()
    yield
    forget()


def forget() -> None:
    group._load.cache_clear()
    for name in ("found", "_entries"):
        skyburst.__dict__.pop(name, None)


def plugged(monkeypatch: pytest.MonkeyPatch, **values: str) -> None:
    """Only these plug-ins are installed; each value is ``module:attribute``."""
    entries = [EntryPoint(name=name, value=value, group=group.ENTRY_POINTS) for name, value in values.items()]
    monkeypatch.setattr(group, "entry_points", lambda group: entries)
    forget()


def raising(error: BaseException) -> list[click.Command]:
    @click.command()
    def fail() -> None:
        raise error

    return [fail]


THESE: list[click.Command] = []


def these(monkeypatch: pytest.MonkeyPatch, commands: list[click.Command]) -> None:
    monkeypatch.setattr(sys.modules[__name__], "THESE", commands)
    plugged(monkeypatch, here=f"{__name__}:THESE")


@pytest.mark.parametrize(
    "error, code",
    [
        (Wrong("setting", "a is b", "write c"), 2),
        (Transient("database_away", "no answer from db", "start it"), 3),
        (Held("gap", "partition 3 is held", "accept the gap"), 1),
        (Poison("truncated", "too short"), 1),
        (Fenced("ledger", "moved on"), 1),
        (Fatal("level1_version", "too old", "migrate"), 1),
        (click.UsageError("what?"), 2),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError("a bug"), 1),
        (ExceptionGroup("group", [ExceptionGroup("group", [Transient("broker_away", "no broker")])]), 3),
        (ExceptionGroup("group", [Transient("broker_away", "no broker"), Fatal("level1_version", "too old")]), 1),
    ],
)
def test_an_error_ends_in_one_line_and_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int
) -> None:
    these(monkeypatch, raising(error))
    assert run(["fail"]) == code
    captured = capsys.readouterr()
    # After ^C click goes to a new line first.
    err = captured.err.removeprefix("\n")
    assert captured.out == "" and err.count("\n") == 1 and err.startswith("skyburst: ")
    assert exit_code(leaf(error)) == code and code in EXIT_CODES


def test_a_line_says_what_and_what_to_do_without_a_password() -> None:
    error = Transient("database_away", "mysql://u:geheim@h/db\ndoes not answer", "start it")
    assert line(error) == "skyburst: mysql://u:***@h/db does not answer; start it"


def test_debug_shows_where_an_unexpected_error_came_from(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    these(monkeypatch, raising(ZeroDivisionError("a bug")))
    run(["--debug", "fail"])
    assert "Traceback" in capsys.readouterr().err


def test_an_int_that_a_verb_returns_is_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    @click.argument("code", type=int)
    def end(code: int) -> int:
        return code

    these(monkeypatch, [end])
    assert [run(["end", "0"]), run(["end", "1"])] == [0, 1]


def test_an_unknown_verb_is_wrong_use_and_hints_at_the_near_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["alrts"]) == 2
    assert "there is no verb 'alrts', did you mean alerts?" in capsys.readouterr().err


def test_an_unknown_option_is_wrong_use_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["settings", "--nothing"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "No such option" in err and "see `skyburst settings --help`" in err


def test_a_broken_plug_in_costs_one_line_and_its_own_verbs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plugged(monkeypatch, stream="stream.cli.commands:commands", broken="no_such_module:commands")
    assert run(["--help"]) == 0
    captured = capsys.readouterr()
    assert "settings" in captured.out and "Traceback" not in captured.err
    assert captured.err.count("\n") == 1 and "no_such_module:commands cannot be loaded" in captured.err
    forget()
    assert run(["settings", "--json"]) == 0
    assert capsys.readouterr().err == ""


def test_a_plug_in_cannot_replace_a_verb_of_ours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command("settings")
    def impostor() -> int:
        return 77

    monkeypatch.setattr(sys.modules[__name__], "THESE", [impostor])
    plugged(monkeypatch, a_foreign=f"{__name__}:THESE", stream="stream.cli.commands:commands")
    assert run(["settings", "--json"]) == 0
    capsys.readouterr()
    assert run(["--help"]) == 0
    assert "is taken" in capsys.readouterr().err


@pytest.mark.parametrize("target", ["stream.cli.no_such:verb", "stream.cli.group:no_such", "stream.cli.exits:line"])
def test_a_verb_that_cannot_be_loaded_says_so(target: str) -> None:
    with pytest.raises(Fatal) as caught:
        lazy.LazyCommand("verb", target, "A verb.").load()
    assert caught.value.code == "verb_broken"


def test_help_imports_no_room_of_weight(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom stream.cli.group import run\nassert run(['--help']) == 0\n"
        "heavy = {'numba', 'astropy', 'pyarrow', 'sqlalchemy', 'pydantic', 'numpy', 'confluent_kafka'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr


def test_the_version_is_the_distributions(capsys: pytest.CaptureFixture[str]) -> None:
    from importlib.metadata import version

    assert run(["--version"]) == 0
    assert version("skyburst") in capsys.readouterr().out


def test_a_pipe_that_nobody_reads_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as out:
        command = [sys.executable, "-m", "stream.cli", "settings"]
        ended = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_socket_that_broke_is_an_error(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    these(monkeypatch, raising(BrokenPipeError(32, "Broken pipe")))
    assert run(["fail"]) == 1
    assert "a connection was closed" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("told", "code", "said"),
    [
        (">/dev/full", 2, "skyburst: stdout cannot be written: No space left on device"),
        ("--json >/dev/full", 2, "skyburst: stdout cannot be written: No space left on device"),
        (">&-", 0, ""),
        ("--json >&-", 0, ""),
        (">/dev/null 2>&-", 0, ""),
    ],
)
def test_stdout_on_a_full_disk_is_told_and_a_closed_stream_is_no_error(told: str, code: int, said: str) -> None:
    command = f"{shlex.quote(sys.executable)} -P -m stream.cli settings {told}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith(said) and len(done.stderr.splitlines()) == bool(said)


def called(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "stream.cli", *arguments]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)


def test_letters_that_stdouts_encoding_lacks_are_escaped() -> None:
    done = called("replay", "--help", PYTHONIOENCODING="latin-1", PYTHONUTF8="0")
    assert (done.returncode, done.stderr) == (0, "")
    assert "SOURCE\\u2026" in done.stdout


@pytest.mark.parametrize("encoding", ["koi8-r", "utf-8"])
def test_json_stays_json_where_stdouts_encoding_lacks_letters(encoding: str) -> None:
    text = "from stream.cli.group import main; from stream.cli import group, output; "
    text += "group.run = lambda _: output.show_json({'name': '\\u2026\\u00e9\\U0001f600'}); main()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", text],
        env=os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout.decode(encoding)) == {"name": "\u2026\u00e9\U0001f600"}


def test_a_working_folder_that_was_removed_is_told(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    command = f"rmdir {shlex.quote(str(gone))} && exec {shlex.quote(sys.executable)} -P -m stream.cli local env"
    done = subprocess.run(command, shell=True, cwd=gone, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "skyburst: the folder that this was called in is not there any more; go to another\n"
