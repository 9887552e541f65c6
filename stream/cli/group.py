"""The group of all verbs: found by entry points, called with one policy for errors."""

from __future__ import annotations

import os
import select
import sys
import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from functools import cache, cached_property
from importlib.metadata import EntryPoint, entry_points, version
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import click

from stream.cli.exits import DONE, exit_code, leaf, line
from stream.collecting import collect_no_more
from stream.errors import Wrong
from stream.log import configure

ENTRY_POINTS = "skyburst.commands"
_LEVEL = "skyburst.log_level"


class Verbs(click.Group):
    """Collects verbs from the entry-point group ``skyburst.commands``; each gives a list of click commands.

    A package that cannot be loaded costs one line and its own verbs, nothing else; it cannot replace ours.
    """

    @cached_property
    def found(self) -> dict[str, click.Command]:
        """All verbs by name."""
        found: dict[str, click.Command] = {}
        for entry in self._entries:
            for command in _load(entry):
                if command.name is None or command.name in found:
                    _complain(f"the verb {command.name} of {entry.value} is taken; the first one counts")
                else:
                    found[command.name] = command
        return found

    @cached_property
    def _entries(self) -> list[EntryPoint]:
        return sorted(entry_points(group=ENTRY_POINTS), key=_ours_first)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self.found)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        # Package by package: a broken one is no concern of those who call another's verb.
        for entry in self._entries:
            for command in _load(entry):
                if command.name == cmd_name:
                    return command
        return None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            # Click would end with code 1 and not a word, also where the pipe was a socket of ours.
            if _stdout_is_unread():
                raise _Unread from error
            raise ConnectionError(f"a connection was closed ({error})") from error

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            near = get_close_matches(name, self.found, n=1)
            hint = f", did you mean {near[0]}?" if near else ""
            raise click.UsageError(f"there is no verb {name!r}{hint}", ctx)
        return super().resolve_command(ctx, args)


class _Unread(Exception):
    """Whoever read our output has closed the pipe: their choice, and no error."""


def _stdout_is_unread() -> bool:
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(events & select.POLLERR for _, events in poll.poll(0))


def _ours_first(entry: EntryPoint) -> tuple[bool, bool, str]:
    return (entry.dist is None or entry.dist.name != "skyburst", entry.name != "stream", entry.name)


@cache
def _load(entry: EntryPoint) -> tuple[click.Command, ...]:
    try:
        loaded = entry.load()
        commands = [each for each in loaded if isinstance(each, click.Command)]
        if len(commands) != len(loaded):
            raise TypeError("not a list of click commands")
    except Exception as error:  # a foreign package may fail in any way; its error must not become ours
        reason = f"{type(error).__name__}: {error}"
        _complain(f"the verbs of {entry.value} cannot be loaded ({reason}); install or remove the package again")
        return ()
    return tuple(commands)


def _complain(text: str) -> None:
    click.echo(f"skyburst: {' '.join(text.split())}", err=True)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(version("skyburst"), prog_name="skyburst")
@click.option("--debug", is_flag=True, help="Log everything, and show where an unexpected error came from.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    envvar="SKYBURST_LOG_LEVEL",
    help="What is logged on stderr; a daemon begins at info, other verbs at warning.",
)
@click.pass_context
def skyburst(ctx: click.Context, debug: bool, log_level: str | None) -> None:
    """Ingest of a sky survey's alerts: Kafka to AlertDB and Level-1, exactly once, and provably so.

    Settings come from flags, the environment (SKYBURST_…) and a config file, in that order: `skyburst settings`
    shows them.
    """
    ctx.meta[_LEVEL] = log_level or ("debug" if debug else None)
    configure(ctx.meta[_LEVEL] or "warning")


def daemon_logs() -> None:
    """Log from info on, unless the caller of the command chose a level: for verbs that run on."""
    ctx = click.get_current_context(silent=True)
    configure((ctx.meta.get(_LEVEL) if ctx else None) or "info")


def run(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code; a verb may return an int, which is then the exit code."""
    debug = "--debug" in arguments
    try:
        outcome: Any = skyburst.main(list(arguments), prog_name="skyburst", standalone_mode=False)
    except _Unread:
        # Python flushes stdout once more at exit, and would complain there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except (Exception, KeyboardInterrupt, BaseExceptionGroup) as raised:
        error = leaf(raised)
        if isinstance(error, FileNotFoundError) and _folder_is_gone():
            error = Wrong("folder_gone", "the folder that this was called in is not there any more", "go to another")
        if debug:
            traceback.print_exception(raised)
        click.echo(line(error), err=True)
        return exit_code(error)
    return outcome if isinstance(outcome, int) else DONE


def _folder_is_gone() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


def main() -> None:
    """The console script."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            # The caller has closed it. Nobody could ask None whether it is a terminal.
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 (open to the end)
    if isinstance(sys.stdout, TextIOWrapper):
        # What the encoding has no letter for is escaped, as Python does it on stderr.
        sys.stdout.reconfigure(errors="backslashreplace")
    code = run(sys.argv[1:])
    collect_no_more()
    sys.exit(code)
