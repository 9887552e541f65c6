"""The verbs of the package ``stream``, by where they are: nothing is imported before a verb is called."""

from __future__ import annotations

import click

from stream.cli.lazy import LazyCommand

commands: list[click.Command] = [
    LazyCommand("alert", "stream.cli.alert:alert", "One packet back, as JSON, Avro, the very message, or its cutouts."),
    LazyCommand("alerts", "stream.cli.alerts:alerts", "What is known of an object, a visit, a place or a time."),
    LazyCommand("demo", "stream.cli.demo.command:demo", "Broker, visit, daemon and proof, with nothing to set up."),
    LazyCommand("check", "stream.cli.check:check", "Every dependency in turn, and what to do about the first."),
    LazyCommand("ledger", "stream.cli.ledger:ledger", "The place in each partition; gaps, topics made again."),
    LazyCommand("level1", "stream.cli.level1:level1", "The Level-1 tables: migrate, rebuild, retire."),
    LazyCommand("local", "stream.local.commands:local", "Private Kafka and MariaDB, for trying out and tests."),
    LazyCommand("settings", "stream.cli.settings:settings", "Every setting: what it is now, and its names."),
    LazyCommand("status", "stream.cli.status:status", "Partitions, lag, segments, quarantine, daemons, gaps."),
    LazyCommand("topics", "stream.transport.commands:topics", "The topics that skyburst needs: create, describe."),
    LazyCommand("verify", "stream.cli.verify:verify", "Prove the invariants on what is stored."),
]
