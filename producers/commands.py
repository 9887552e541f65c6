"""The verbs of the package ``producers``, by where they are: nothing is imported before a verb is called."""

from __future__ import annotations

import click

from stream.cli.lazy import LazyCommand

commands: list[click.Command] = [
    LazyCommand(
        "replay", "producers.replay_command:replay", "Send visits to Kafka: like the sky, steadily, or at once."
    ),
]
