"""Verbs called in this process, beside a daemon in it: what they print, and how they end."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from click.testing import CliRunner
from doubles.ingest_run import IngestRun

from stream.cli.group import run as run_command


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


def _call(environment: dict[str, str], arguments: tuple[str, ...]) -> Called:
    with CliRunner().isolation(env=environment) as (out, err, _):
        code = run_command(arguments)
        return Called(code, out.getvalue().decode(), err.getvalue().decode())
