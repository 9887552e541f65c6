"""The topics that skyburst needs, made and described on the real broker."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stream.cli.group import run
from stream.errors import Held, Wrong
from stream.transport.admin import ALERT_SETTINGS, VISIT_SETTINGS, Topics, TopicState, TopicWish
from stream.transport.kafka import KafkaSource


def test_a_topic_is_made_as_wished_once(kafka: Any, topic: str) -> None:
    topics = Topics(kafka.bootstrap)
    wish = TopicWish(topic, partitions=3)
    assert topics.create(wish)
    assert not topics.create(wish)
    state = topics.describe(topic)
    assert (state.partitions, state.replication) == (3, 1)
    assert state.differs(wish) == {}
    assert topics.stream_of(topic).topic_id == state.topic_id


def test_what_is_not_as_wished_is_named(kafka: Any, topic: str) -> None:
    kafka.create_topic(topic, 1, {"cleanup.policy": "compact", "max.message.bytes": "1000", "retention.ms": "-1"})
    differs = Topics(kafka.bootstrap).describe(topic).differs(TopicWish(topic, partitions=2))
    assert differs["partitions"] == ("1", "2")
    assert differs["cleanup.policy"] == ("compact", "delete")
    assert set(differs) == {"partitions", "cleanup.policy", "max.message.bytes"}


def test_what_cannot_be_made_is_wrong_use(kafka: Any, topic: str) -> None:
    topics = Topics(kafka.bootstrap)
    for wish in (
        TopicWish(topic, replication=3),
        TopicWish("a name with spaces"),
        TopicWish(topic, settings={"x": "y"}),
    ):
        with pytest.raises(Wrong) as caught:
            topics.create(wish)
        assert caught.value.code == "topic_refused"
    with pytest.raises(Held) as held:
        topics.need([topic])
    assert held.value.code == "topic_gone"


@pytest.mark.parametrize("name", ["a name with spaces", "a/b", "^alerts.*", "x" * 250])
def test_a_name_that_no_topic_can_have_is_wrong_use_and_not_waited_for(kafka: Any, name: str) -> None:
    source = KafkaSource(kafka.bootstrap, "group")
    with pytest.raises(Wrong) as caught:
        source.subscribe([name], lambda _: {}, lambda _: None, lambda _: None)
    source.close()
    assert caught.value.code == "topic_refused"
    with pytest.raises(Wrong):
        Topics(kafka.bootstrap).describe(name)


def test_three_replicas_want_two_in_sync() -> None:
    assert TopicWish("t", replication=3).all_settings["min.insync.replicas"] == "2"
    assert "min.insync.replicas" not in TopicWish("t").all_settings
    silent = TopicState("t", "id", 4, 3, {})
    assert silent.differs(TopicWish("t", replication=3)) == {}


def test_the_verbs_make_and_describe(kafka: Any, topic: str, capsys: pytest.CaptureFixture[str]) -> None:
    shared = ["--bootstrap", kafka.bootstrap, "--topic", topic, "--visits-topic", f"{topic}-v", "--json"]

    def call(verb: str) -> tuple[int, list[dict[str, Any]]]:
        code = run(["topics", verb, *shared])
        return code, json.loads(capsys.readouterr().out)

    code, rows = call("describe")
    assert code == 1
    assert "Unknown topic" in rows[0]["differs"]
    assert call("create") == (0, [{"topic": topic, "made": True}, {"topic": f"{topic}-v", "made": True}])
    code, rows = call("describe")
    assert code == 0
    assert [row["partitions"] for row in rows] == [4, 1]
    assert rows[0]["settings"].items() >= ALERT_SETTINGS.items()
    assert rows[1]["settings"].items() >= VISIT_SETTINGS.items()
    assert call("create")[1][0] == {"topic": topic, "made": False}
