"""The reference pages that are made from the code: ``python -m stream.cli.reference FOLDER`` writes them.

A test makes them again and compares, so that a page can never say what the code does not.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from stream.cli.exits import EXIT_CODES
from stream.cli.group import skyburst
from stream.cli.lazy import LazyCommand
from stream.config import IngestSettings, Settings, describe_settings
from stream.layers import Layered

_MADE = "<!-- Made from the code by `make docs`; do not edit. -->\n"


def command_page() -> str:
    """Every verb with its arguments and options."""
    context = click.Context(skyburst, info_name="skyburst")
    lines = [
        "# The command",
        "",
        _prose(skyburst.help),
        "",
        *_options_table(skyburst, context),
        "Settings that all verbs share, and the daemon's: [settings.md](settings.md). `--json` is there wherever a",
        "table is printed; a table is drawn on a terminal and tab-separated elsewhere.",
        "",
        "## Exit codes",
        "",
        *_table(("code", "means"), [(str(code), text) for code, text in EXIT_CODES.items()]),
        "An error is one line on stderr: `skyburst: <what and where>; <what to do>`.",
    ]
    for name in skyburst.list_commands(context):
        command = skyburst.get_command(context, name)
        if command is not None:
            lines += ["", *_verb(command, f"skyburst {name}", 2)]
    return _page(lines)


def settings_page() -> str:
    """Every setting with its three names."""
    lines = [
        "# Settings",
        "",
        "Each setting is a flag, an environment variable and a key of the config file (TOML; `--config FILE` or",
        "`SKYBURST_CONFIG`). Flags are strongest, then the environment, then the file. `skyburst settings` shows what",
        "is in force.",
        "",
        "A secret may lie in a file: `<VARIABLE>_FILE` names it. A file with a secret that everybody on the machine",
        "can read is refused. Secrets are shown nowhere. Sizes may be written `48MiB`, and paths may begin with `~`.",
        "",
        "## For all verbs",
        "",
        *_settings(Settings),
        "## For `skyburst ingest`: the table `[ingest]`",
        "",
        *_settings(IngestSettings),
        "## Logs",
        "",
        "`--log-level` before the verb, or `SKYBURST_LOG_LEVEL`: debug, info, warning, error.",
    ]
    return _page(lines)


def metrics_page() -> str:
    """Every metric that a process can expose."""
    from stream.metrics import DECLARED

    declared = sorted(DECLARED.values(), key=lambda metric: metric.name)
    lines = [
        "# Metrics",
        "",
        "On `/metrics` of each daemon (`metrics_host`, `metrics_port`). Besides these there are the `process_…`",
        "metrics of the Prometheus client. A metric with labels has no series before something happened, but counters",
        "whose label values are known (outcomes, codes of quarantine, fences, reasons, events) have them from the",
        "start, at 0. The dashboard `deploy/grafana/skyburst.json` shows them all.",
        "",
        *_table(
            ("metric", "kind", "labels", "what"),
            [(f"`{m.name}`", m.kind, ", ".join(m.labels), m.doc) for m in declared],
        ),
        "## Buckets of the histograms",
        "",
        *_table(
            ("metric", "bounds"),
            [(f"`{m.name}`", ", ".join(f"{bound:g}" for bound in m.buckets)) for m in declared if m.buckets],
        ),
    ]
    return _page(lines)


def tables_page() -> str:
    """Every table of the database."""
    from stream.tables.reference import reference

    return reference()


PAGES: Mapping[str, Callable[[], str]] = {
    "command.md": command_page,
    "settings.md": settings_page,
    "metrics.md": metrics_page,
    "level1-tables.md": tables_page,
}


def write(folder: Path) -> list[Path]:
    """Write every page into `folder` and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in PAGES]
    for path in paths:
        path.write_text(PAGES[path.name](), encoding="utf-8")
    return paths


def verbs() -> Iterator[tuple[str, click.Command]]:
    """Every verb and sub-verb, loaded, by its whole name."""
    context = click.Context(skyburst, info_name="skyburst")
    for name in skyburst.list_commands(context):
        command = skyburst.get_command(context, name)
        if command is not None:
            yield from _below(command, f"skyburst {name}")


def _below(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    loaded = command.load() if isinstance(command, LazyCommand) else command
    yield path, loaded
    if isinstance(loaded, click.Group):
        context = click.Context(loaded, info_name=path)
        for name in loaded.list_commands(context):
            inner = loaded.get_command(context, name)
            if inner is not None:
                yield from _below(inner, f"{path} {name}")


def _verb(command: click.Command, path: str, level: int, common: _Common | None = None) -> list[str]:
    """A verb and the verbs below it; settings that several of those take are said once, with the group."""
    loaded = command.load() if isinstance(command, LazyCommand) else command
    context = click.Context(loaded, info_name=path)
    usage = " ".join(piece for piece in loaded.collect_usage_pieces(context))
    lines = [
        "#" * level + f" {path}",
        "",
        f"`{path} {usage}`",
        "",
        _prose(loaded.help),
        "",
        *_options_table(loaded, context, common),
    ]
    if isinstance(loaded, click.Group):
        verbs = {
            f"{path} {name}": inner.load() if isinstance(inner, LazyCommand) else inner
            for name in loaded.list_commands(context)
            if (inner := loaded.get_command(context, name)) is not None and not inner.hidden
        }
        shared = _shared(path, verbs.values())
        if shared.names:
            lines += ["Settings that several of its verbs take:", ""]
            lines += _table(("setting", "what"), shared.rows)
        for name, inner in verbs.items():
            lines += _verb(inner, name, level + 1, shared)
    return lines


@dataclass(frozen=True, slots=True)
class _Common:
    """Settings that several verbs of a group take."""

    group: str
    names: frozenset[str]
    rows: Sequence[tuple[str, str]]


def _shared(group: str, verbs: Iterable[click.Command]) -> _Common:
    found: dict[str, list[click.Option]] = {}
    for verb in verbs:
        for option in verb.params:
            if isinstance(option, click.Option) and (option.name or "").startswith("setting_") and not option.hidden:
                found.setdefault(str(option.name), []).append(option)
    several = {name: uses for name, uses in found.items() if len(uses) > 1 and name not in _elsewhere()}
    rows = [_row(uses[0], click.Context(click.Command(group))) for uses in several.values()]
    return _Common(group, frozenset(several), rows)


def _elsewhere() -> frozenset[str]:
    """The flags that the page of settings has."""
    return frozenset(f"setting_{doc.name}" for of in (Settings, IngestSettings) for doc in describe_settings(of))


def _row(option: click.Option, context: click.Context) -> tuple[str, str]:
    names = ", ".join((*option.opts, *option.secondary_opts))
    value = "" if option.is_flag else f" {option.make_metavar(context)}"
    return f"`{names}{value}`", _prose(option.help) + _default(option)


def _options_table(command: click.Command, context: click.Context, common: _Common | None = None) -> list[str]:
    rows = []
    settings = set()
    elsewhere = _elsewhere() | (common.names if common else frozenset())
    for option in command.get_params(context):
        if not isinstance(option, click.Option) or option.hidden or "--help" in option.opts:
            continue
        if option.name in elsewhere:
            settings.add(option.name)
            continue
        rows.append(_row(option, context))
    lines = _table(("option", "what"), rows) if rows else []
    if "setting_bootstrap" in settings:
        lines += ["Takes the [settings that all verbs share](settings.md#for-all-verbs).", ""]
    if "setting_group" in settings:
        lines += ["Takes the [settings of the daemon](settings.md#for-skyburst-ingest-the-table-ingest).", ""]
    if common and settings & common.names:
        lines += [f"Takes the [settings of {common.group}](#{common.group.replace(' ', '-')}).", ""]
    return lines


def _default(option: click.Option) -> str:
    if option.is_flag or not option.show_default or option.default in (None, "", ()):
        return ""
    return f" Default: {option.default}."


def _settings(of: type[Layered]) -> list[str]:
    rows = []
    for doc in describe_settings(of):
        if doc.name == "config" and of is not Settings:
            continue
        key = f"`{doc.key}`" if doc.key else ""
        rows.append((f"`{doc.flag}`", f"`{doc.env}`", key, doc.default, doc.doc))
    return _table(("flag", "environment", "key", "default", "what"), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in (head, *rows)]
    lines = ["| " + " | ".join(cells) + " |" for cells in escaped]
    return [lines[0], "|" + " --- |" * len(head), *lines[1:], ""]


def _prose(text: str | None) -> str:
    """Help text as Markdown: its paragraphs, each on one line; what Click keeps as it is becomes a code block."""
    blocks = []
    for block in (text or "").strip().split("\n\n"):
        kept = block.lstrip().startswith("\b")
        lines = [line.strip() for line in block.replace("\b", "").strip("\n").splitlines()]
        blocks.append("```\n" + "\n".join(line for line in lines if line) + "\n```" if kept else " ".join(lines))
    return "\n\n".join(blocks)


def _page(lines: Sequence[str]) -> str:
    return _MADE + re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


if __name__ == "__main__":
    for made in write(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/reference")):
        click.echo(str(made))
