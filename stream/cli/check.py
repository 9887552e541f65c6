"""``skyburst check``: every dependency in turn, and what to do about the first that fails."""

from __future__ import annotations

from collections.abc import Iterator

import click

from stream.cli.exits import DONE, NO, exit_code
from stream.cli.finding import Check, Finding
from stream.cli.options import json_option, shared_options
from stream.cli.output import show
from stream.config import Settings
from stream.errors import SkyburstError
from stream.redact import redact


@click.command()
@json_option
@shared_options
def check(settings: Settings, as_json: bool) -> int:
    """Go through survey, schemas, broker, topics, Level-1, AlertDB and the compiled kernel, as ingest will use them.

    Run it as the user and on the machine that will ingest. Ends with 1 where something fails, with 2 where a setting is
    missing or wrong, with 3 where something cannot be reached: by what fails first. Warnings alone end with 0.
    """
    from stream.cli.checks import checks

    rows: list[dict[str, object]] = []
    code = DONE
    for name, finding, failure in _run(checks(settings)):
        rows.append({"check": name, "verdict": finding.verdict, "what": finding.text, "do": finding.advice})
        code = code or failure
    show(rows, columns=("check", "verdict", "what", "do"), as_json=as_json, title="check")
    if code and not as_json:
        first = next(row for row in rows if row["verdict"] == "fails")
        click.echo(f"skyburst: {first['check']}: {first['what']}; {first['do']}".rstrip("; "), err=True)
    return code


def _run(checks: Iterator[tuple[str, str, Check]]) -> Iterator[tuple[str, Finding, int]]:
    """Each check's name, what came of it, and an exit code; what stands on one that failed is not asked."""
    failed: set[str] = set()
    for name, needs, ask in checks:
        if needs in failed:
            failed.add(name)
            yield name, Finding("unasked", f"{needs} comes first"), DONE
            continue
        code = DONE
        try:
            finding = ask()
        except SkyburstError as error:
            finding = Finding("fails", redact(f"{error.code}: {error.message}"), redact(error.advice))
            code = exit_code(error)
        if finding.verdict == "fails":
            failed.add(name)
            code = code or NO
        yield name, finding, code
