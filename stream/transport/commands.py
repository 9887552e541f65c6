"""`skyburst topics create|describe`: the topics that skyburst needs, with the settings it wants."""

from __future__ import annotations

import click

from stream.cli.options import json_option, shared_options
from stream.cli.output import show
from stream.config import Settings, need_apart
from stream.errors import Held
from stream.transport.admin import VISIT_SETTINGS, Topics, TopicState, TopicWish
from stream.transport.security import security_of

_visits_option = click.option(
    "--visits-topic",
    envvar="SKYBURST_INGEST_VISITS_TOPIC",
    default="visits",
    show_default=True,
    help="Topic with the announcements of visits; empty: none.",
)


@click.group()
def topics() -> None:
    """The topics that skyburst needs: those with alerts, and the one on which visits are announced."""


@topics.command()
@_visits_option
@click.option("--partitions", type=click.IntRange(1), default=4, show_default=True, help="Of each topic with alerts.")
@click.option("--replication", type=click.IntRange(1), default=1, show_default=True, help="Copies of each partition.")
@json_option
@shared_options
def create(settings: Settings, visits_topic: str, partitions: int, replication: int, as_json: bool) -> None:
    """Make the topics that are not there yet; what is there is left as it is."""
    cluster = Topics(settings.need("bootstrap"), security_of(settings))
    wishes = _wishes(settings, visits_topic, partitions, replication)
    rows = [{"topic": wish.name, "made": cluster.create(wish)} for wish in wishes]
    show(rows, columns=("topic", "made"), as_json=as_json)


@topics.command()
@_visits_option
@json_option
@shared_options
def describe(settings: Settings, visits_topic: str, as_json: bool) -> int:
    """The topics as they are, and what of it skyburst wants otherwise; exit code 1 where there is anything."""
    cluster = Topics(settings.need("bootstrap"), security_of(settings))
    rows: list[dict[str, object]] = []
    for wish in _wishes(settings, visits_topic, 1, 1):
        try:
            rows.append(_row(cluster.describe(wish.name), wish))
        except Held as error:
            rows.append({"topic": wish.name, "differs": error.message})
    show(rows, columns=("topic", "id", "partitions", "replication", "differs"), as_json=as_json)
    return 1 if any(row["differs"] for row in rows) else 0


def _wishes(settings: Settings, visits_topic: str, partitions: int, replication: int) -> list[TopicWish]:
    need_apart(visits_topic, settings.need_topics())
    wishes = [TopicWish(name, partitions, replication) for name in settings.need_topics()]
    if visits_topic:
        wishes.append(TopicWish(visits_topic, 1, replication, VISIT_SETTINGS))
    return wishes


def _row(state: TopicState, wish: TopicWish) -> dict[str, object]:
    differs = [f"{name} is {is_}, wanted {wanted}" for name, (is_, wanted) in state.differs(wish).items()]
    return {
        "topic": state.name,
        "id": state.topic_id,
        "partitions": state.partitions,
        "replication": state.replication,
        "differs": "; ".join(differs),
        "settings": state.settings,
    }
