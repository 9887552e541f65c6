"""How a command ends: one line that says what and where and what to do, and a code that a script can stand on."""

from __future__ import annotations

import click

from stream.errors import SkyburstError, Transient, Wrong
from stream.redact import redact

DONE, NO, WRONG_USE, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 130

EXIT_CODES = {
    DONE: "done",
    NO: "the answer is no: something is held, refused, fenced, not found or not as it should be",
    WRONG_USE: "wrong use: an option, a setting or an argument",
    UNREACHABLE: "a dependency is unreachable: broker, database, registry, store; the same call may succeed later",
    INTERRUPTED: "interrupted by the keyboard",
}


def exit_code(error: BaseException) -> int:
    """The exit code that `error` ends the command with."""
    if isinstance(error, Wrong | click.UsageError):
        return WRONG_USE
    if isinstance(error, Transient):
        return UNREACHABLE
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return INTERRUPTED
    return NO


def line(error: BaseException) -> str:
    """The one line on stderr: ``skyburst: <what and where>; <what to do>``."""
    if isinstance(error, SkyburstError):
        text = str(error)
    elif isinstance(error, click.UsageError):
        where = error.ctx.command_path if error.ctx else "skyburst"
        text = f"{error.format_message().rstrip('.')}; see `{where} --help`"
    elif isinstance(error, click.ClickException):
        text = error.format_message()
    elif isinstance(error, KeyboardInterrupt | click.Abort):
        text = "interrupted"
    else:
        text = f"unexpected {type(error).__name__}: {error}; `skyburst --debug …` shows where"
    return "skyburst: " + redact(" ".join(text.split()))


def leaf(error: BaseException) -> BaseException:
    """The error that ended it all, out of the groups that task groups put around it: the gravest of ours first."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves = [leaf(each) for each in error.exceptions]
    unknown = [each for each in leaves if not isinstance(each, SkyburstError)]
    return next(iter(unknown), None) or max(leaves, key=lambda each: not isinstance(each, Transient))
