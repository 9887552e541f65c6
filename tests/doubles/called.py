"""Verbs called in this process, beside a daemon in it: what they print, and how they end."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from click.testing import CliRunner
from doubles.ingest_run import IngestRun

from stream.audit import broker
from stream.cli.group import run as run_command
from stream.transport import admin


@dataclass(frozen=True, slots=True)
class Called:
    """The end of a verb: its exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its output, parsed."""
        return json.loads(self.out)


async def call(run: IngestRun, *arguments: str, **more: str) -> Called:
    """Call a verb on the stores of `run`, in a thread; `more` is environment."""
    return await asyncio.to_thread(_call, {**run.environment(), **more}, arguments)


async def call_away(run: IngestRun, *arguments: str, **more: str) -> Called:
    """Call a verb as `call` does, with nobody at the broker's address: no answer is waited for a second only."""
    with patch.object(admin, "ANSWER_S", 1.0), patch.object(broker, "ASK_S", 1.0):
        return await call(run, *arguments, SKYBURST_BOOTSTRAP="127.0.0.1:1", **more)


def _call(environment: dict[str, str], arguments: tuple[str, ...]) -> Called:
    with CliRunner().isolation(env=environment) as (out, err, _):
        code = run_command(arguments)
        return Called(code, out.getvalue().decode(), err.getvalue().decode())
