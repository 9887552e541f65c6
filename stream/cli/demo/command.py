"""`skyburst demo`: everything once, on this machine, with nothing to set up."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stream.cli.options import json_option
from stream.cli.output import show_json
from stream.errors import Wrong

if TYPE_CHECKING:
    from stream.cli.demo.summary import Summary


@click.command()
@click.option(
    "--at",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of its files, new or empty; skyburst-demo-TIME in this folder if not given.",
)
@click.option(
    "--alerts", type=click.IntRange(1, 100_000), default=1000, show_default=True, help="Made packets of the visit."
)
@json_option
def demo(at: Path | None, alerts: int, as_json: bool) -> int:
    """Replay a visit into an embedded broker, ingest it into SQLite and a folder, and prove what is stored.

    Needs no server and no setting, and heeds none. Real packets are sent where they are ($SKYBURST_TEST_DATA, or
    ../shared/data beside a checkout), made ones always. Exit code 0 only if everything is as it should be.
    """
    from stream.cli.demo.run import Places, choose, run
    from stream.cli.demo.summary import Summary

    begun = time.monotonic()
    places = Places(_fresh(at))
    sent = choose(places, alerts)
    say = _say if not as_json else _quiet
    say(f"files in {places.folder}")
    came = run(places, sent, say, bar=sys.stderr.isatty() and not as_json)
    summary = Summary(places, sent, came, time.monotonic() - begun)
    if as_json:
        show_json(summary.document())
    else:
        _print(summary)
    wrong = list(summary.wrong())
    for text in wrong:
        click.echo(f"skyburst: {text}", err=True)
    return 1 if wrong else 0


def _fresh(at: Path | None) -> Path:
    folder = (at or Path(f"skyburst-demo-{time.strftime('%Y%m%dT%H%M%S')}")).absolute()
    if folder.exists() and any(folder.iterdir()):
        raise Wrong("demo_folder", f"{folder} is not empty", "give a new folder with --at")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Wrong("demo_folder", f"{folder} cannot be made ({error.strerror})", "give a folder with --at") from error
    return folder


def _say(text: str) -> None:
    from rich.console import Console
    from rich.text import Text

    verb, found, rest = text.partition(": ")
    Console(stderr=True, highlight=False, soft_wrap=True).print(Text.assemble((verb, "bold"), found + rest))


def _quiet(text: str) -> None:
    """JSON is for programs, which need no story."""


def _print(summary: Summary) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)

    def titled(title: str) -> None:
        console.print(Text(f"\n{title}", style="bold"))

    def fields(of: Mapping[str, str]) -> None:
        width = max(map(len, of))
        for name, value in of.items():
            console.print(Text.assemble((f"  {name:<{width}}", "dim"), f"  {value}"))

    titled("what came of it")
    fields(summary.figures())
    titled("one alert, read back")
    fields(summary.alert())
    titled("verify")
    for each in summary.came.verify["invariants"]:
        style = "green" if each["verdict"] == "holds" else "bold red" if "FAILS" in str(each["verdict"]) else "dim"
        console.print(Text.assemble(f"  {each['invariant']:>2}  {each['says']}: ", (str(each["verdict"]), style)))
    for each in summary.came.verify["findings"]:
        console.print(Text(f"  {each['code']}: {each['what']}; {each['where']}"))
    titled("look around")
    for line in summary.more():
        console.print(Text(f"  {line}"))
    holds = not list(summary.wrong())
    console.print(Text("\nall holds" if holds else "\nnot all holds", style="bold green" if holds else "bold red"))
