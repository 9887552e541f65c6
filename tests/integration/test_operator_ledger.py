"""What an operator does where a log cannot go on from the ledger: the partition is held with its range, then freed."""

from __future__ import annotations

import asyncio
from pathlib import Path

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from doubles.called import call, call_away
from doubles.ingest_live import Live, execute, living, rows, until
from doubles.ingest_run import IngestRun, sent

from stream import metrics
from stream.local import LocalKafka


async def made(kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path, partitions: int = 2) -> IngestRun:
    kafka.create_topic(topic, partitions)
    run = IngestRun(kafka.bootstrap, topic, level1_url, tmp_path / "alertdb")
    await run.migrate()
    return run


async def taken(run: IngestRun) -> list[int]:
    return sorted(row.diaSourceId for row in await rows(run.level1, "SELECT diaSourceId FROM level1"))


async def holds(live: Live, code: str) -> str:
    """Wait until the daemon holds a partition for `code`; gives what readiness says of it."""

    def said() -> str:
        return next((r.text for r in live.ingest.health.reasons() if r.code == "partition_held" and code in r.text), "")

    return str(await until(said, f"held for {code}"))


async def marked(run: IngestRun, end: int) -> None:
    """Wait until the ledger says that the log of partition 0 was found to end at `end`."""

    async def said() -> bool:
        found = await rows(run.level1, "SELECT aheadOf FROM ledger WHERE kafkaPartition = 0 AND stream = 1")
        return [row.aheadOf for row in found] == [end]

    await until(said, "the place is marked")


async def lose(run: IngestRun, end: int, place: int) -> None:
    """As if the broker had lost the last messages of partition 0: the ledger and its ranges go on to `place`."""
    await execute(
        run.level1,
        f"UPDATE ledger SET next = {place} WHERE kafkaPartition = 0",
        "INSERT INTO commits (commitId, daemon, committedAt, records) VALUES (77, '', 0, 0)",
        f"INSERT INTO commit_ranges VALUES (77, 1, 0, {end}, {place}, 0, 0)",
    )


async def free(live: Live) -> None:
    await until(lambda: "partition_held" not in live.reasons(), "no partition is held any more")


async def proven(run: IngestRun) -> None:
    judged = await call(run, "verify")
    assert judged.code == 0, judged.out + judged.err


async def test_expired_offsets_hold_their_partition_until_the_gap_is_accepted(
    kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path
) -> None:
    run = await made(kafka, topic, level1_url, tmp_path)
    run.send([sent(number, partition=number % 2) for number in range(4)])
    assert await run.ingest() == 0
    run.send([sent(number, partition=0) for number in range(10, 15)])
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    for asked in admin.delete_records([TopicPartition(topic, 0, 5)]).values():
        await asyncio.to_thread(asked.result, 10)
    async with living(run) as live:
        assert "[2, 5]" in await holds(live, "offsets_expired")
        run.send([sent(20, partition=1)])

        async def other() -> bool:
            return 20 in await taken(run)

        await until(other, "the other partition goes on")
        shown = await call(run, "ledger", "show", "--json")
        assert shown.code == 1
        (held,) = [row for row in shown.json["partitions"] if row["held"]]
        assert (held["held"], held["partition"], held["missing"]) == ("offsets_expired", 0, [2, 5])
        number = str(held["stream"])
        wrong = await call(run, "ledger", "accept-gap", number, "0", "3", "5", "--reason", "too late")
        assert wrong.code == 1 and "stands at 2" in wrong.err
        done = await call(run, "ledger", "accept-gap", number, "0", "2", "5", "--reason", "retention was an hour")
        assert done.code == 0, done.err
        await free(live)

        async def rest() -> bool:
            return await taken(run) == [0, 1, 2, 3, 13, 14, 20]

        await until(rest, "what the log still has is taken")
    assert live.code == 0
    shown = await call(run, "ledger", "show", "--json")
    assert shown.code == 0
    (gap,) = shown.json["acceptedGaps"]
    assert (gap["startOffset"], gap["endOffset"], gap["reason"]) == (2, 5, "retention was an hour")
    await proven(run)


async def test_what_the_log_has_not_reached_is_not_given_up(
    kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path
) -> None:
    run = await made(kafka, topic, level1_url, tmp_path)
    run.send([sent(number, partition=0) for number in range(5)])
    assert await run.ingest() == 0
    gap = ("ledger", "accept-gap", "1", "0", "5", "8", "--reason", "typo")
    refused = await call(run, *gap)
    assert refused.code == 1 and "ends at 5" in refused.err and "no offset is missing" in refused.err, refused.err
    run.send([sent(number, partition=0) for number in range(5, 7)])
    refused = await call(run, *gap)
    assert refused.code == 1 and "END is 7 at most" in refused.err, refused.err
    assert await run.ingest() == 0
    assert await taken(run) == list(range(7))
    await lose(run, 7, 9)
    ahead = await call(run, "ledger", "accept-gap", "1", "0", "9", "10", "--reason", "the broker lost some")
    assert ahead.code == 1 and f"`skyburst ledger adopt {topic}`" in ahead.err, ahead.err
    assert await rows(run.level1, "SELECT * FROM accepted_gaps") == []


async def test_a_gap_of_which_the_broker_cannot_tell_needs_a_word_more(
    kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path
) -> None:
    run = await made(kafka, topic, level1_url, tmp_path)
    run.send([sent(number, partition=0) for number in range(2)])
    assert await run.ingest() == 0

    def gap(start: int) -> tuple[str, ...]:
        return ("ledger", "accept-gap", "1", "0", str(start), str(start + 1), "--reason", "a test")

    await execute(run.level1, "UPDATE streams SET cluster = CONCAT('old-', cluster)")
    elsewhere = await call(run, *gap(2))
    assert elsewhere.code == 1 and "cluster" in elsewhere.err and "--unchecked" in elsewhere.err, elsewhere.err
    await execute(run.level1, "UPDATE streams SET cluster = SUBSTR(cluster, 5)")
    away = await call_away(run, *gap(2))
    assert away.code == 3 and "--unchecked" in away.err, away.err
    unset = await call(run, *gap(2), SKYBURST_BOOTSTRAP="")
    assert unset.code == 2 and "--unchecked" in unset.err, unset.err
    assert await rows(run.level1, "SELECT * FROM accepted_gaps") == []
    assert (await call_away(run, *gap(2), "--unchecked")).code == 0
    await asyncio.to_thread(kafka.delete_topic, topic)
    gone = await call(run, *gap(3))
    assert gone.code == 0, gone.err
    await asyncio.to_thread(kafka.create_topic, topic, 2)
    again = await call(run, *gap(4))
    assert again.code == 0, again.err
    assert len(await rows(run.level1, "SELECT * FROM accepted_gaps")) == 3


async def test_a_topic_that_was_made_again_is_held_until_it_is_adopted(
    kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path
) -> None:
    run = await made(kafka, topic, level1_url, tmp_path)
    run.send([sent(number, partition=number % 2) for number in range(4)])
    async with living(run) as live:

        async def first() -> bool:
            return await taken(run) == [0, 1, 2, 3]

        await until(first, "the first topic is taken")
        await asyncio.to_thread(kafka.delete_topic, topic)
        await asyncio.to_thread(kafka.create_topic, topic, 2)
        run.send([sent(number, partition=number % 2) for number in range(10, 14)])
        await holds(live, "topic_recreated")
        shown = await call(run, "ledger", "show", "--json")
        assert [row["held"] for row in shown.json["partitions"]] == ["topic_recreated"] * 2
        await until(lambda: metrics.ASSIGNED_PARTITIONS.value() == 2, "both are its own, though they are held")

        async def ready() -> bool:
            return len(await rows(run.level1, "SELECT 1 FROM streams")) == 2

        await until(ready, "the new stream has its number")
        beyond = await call(run, "ledger", "adopt", "2", "--at", "3")
        assert beyond.code == 1 and "partition 0 ends at 2, before 3" in beyond.err, beyond.err
        adopted = await call(run, "ledger", "adopt", "2", "--json")
        assert adopted.code == 0, adopted.err
        assert (adopted.json["stream"], adopted.json["begins"]) == (2, {"0": 0, "1": 0})
        assert (await call(run, "ledger", "adopt", "2")).code == 1

        async def both() -> bool:
            return await taken(run) == [0, 1, 2, 3, 10, 11, 12, 13]

        await until(both, "the new topic is taken")
        await free(live)
    assert live.code == 0
    await proven(run)


async def test_a_topic_in_which_nobody_expects_alerts_is_not_adopted(
    kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path
) -> None:
    run, told = await made(kafka, topic, level1_url, tmp_path), f"{topic}-told"
    kafka.create_topic(told, 1)
    run.send([sent(1)])
    assert await run.ingest() == 0
    await execute(
        run.level1,
        f"INSERT INTO streams (stream, cluster, topic, topicId) SELECT 2, cluster, '{told}', 'x' FROM streams",
        "INSERT INTO ledger (sink, stream, kafkaPartition, next) VALUES ('visits', 2, 0, 0)",
    )
    for named in (told, "2"):
        unknown = await call(run, "ledger", "adopt", named)
        assert unknown.code == 1 and "no alerts of a topic" in unknown.err, unknown.err
        both = f"{topic},{told}"
        visits = await call(run, "ledger", "adopt", named, "--visits-topic", told, SKYBURST_TOPIC=both)
        assert visits.code == 2 and "announcements" in visits.err, visits.err
    assert len(await rows(run.level1, "SELECT * FROM streams")) == 2
    assert len(await rows(run.level1, "SELECT * FROM ledger WHERE sink = 'alertdb' AND stream > 1")) == 0
    named = await call(run, "ledger", "adopt", topic, SKYBURST_TOPIC="")
    assert named.code == 1 and "has every partition" in named.err, "what the ledger knows needs no setting"


async def test_a_ledger_ahead_of_the_log_goes_on_in_a_new_generation_that_reuses_no_record_id(
    kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path
) -> None:
    run = await made(kafka, topic, level1_url, tmp_path)
    run.send([sent(number, partition=number % 2) for number in range(6)])
    assert await run.ingest() == 0
    await lose(run, 3, 5)
    async with living(run) as live:
        assert "[3, 5]" in await holds(live, "ledger_ahead")
        run.send([sent(7, partition=1)])

        async def other() -> bool:
            return 7 in await taken(run)

        await until(other, "the other partition goes on")
        shown = await call(run, "ledger", "show", "--json")
        assert [(row["held"], row["missing"]) for row in shown.json["partitions"] if row["held"]] == [
            ("ledger_ahead", [3, 5])
        ]
        beyond = await call(run, "ledger", "adopt", "1", "--at", "4")
        assert beyond.code == 1 and "partition 0 ends at 3, before 4" in beyond.err, beyond.err
        adopted = await call(run, "ledger", "adopt", "1", "--at", "3", "--json")
        assert adopted.code == 0, adopted.err
        assert adopted.json["begins"] == {"0": 3, "1": 4}
        assert adopted.json["closed"] == [[1, 0, 5, 6], [1, 1, 4, 5]]
        run.send([sent(number, partition=number % 2) for number in range(30, 36)])

        async def rest() -> bool:
            return await taken(run) == [*range(6), 7, *range(30, 36)]

        await until(rest, "both partitions go on in the new generation")
        await free(live)
    assert live.code == 0
    places = await rows(run.level1, "SELECT stream, kafkaPartition p, next FROM ledger ORDER BY stream, kafkaPartition")
    assert [tuple(row) for row in places] == [(1, 0, 6), (1, 1, 5), (2, 0, 6), (2, 1, 7)]
    records = await rows(run.level1, "SELECT stream, kafkaPartition, kafkaOffset FROM level1")
    assert len({tuple(row) for row in records}) == len(records) == 13
    assert {row.topicId.partition("#")[2] for row in await rows(run.level1, "SELECT topicId FROM streams")} == {"", "1"}
    old = await call(run, "ledger", "accept-gap", "1", "0", "6", "9", "--reason", "nothing comes to the old generation")
    assert old.code == 0, old.err


async def test_a_log_that_has_grown_past_a_ledger_that_lay_ahead_is_not_read_on_but_adopted_by_its_name(
    kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path
) -> None:
    run = await made(kafka, topic, level1_url, tmp_path)
    run.send([sent(number, partition=number % 2) for number in range(4)])
    assert await run.ingest() == 0
    await lose(run, 2, 4)
    async with living(run) as live:
        assert "--ahead 0" in await holds(live, "ledger_ahead")
        await marked(run, 2)
        # As if a daemon had found it that cannot write marks.
        await execute(run.level1, "UPDATE ledger SET aheadOf = NULL")
        run.send([sent(number, partition=0) for number in range(10, 16)])
        refused = await call(run, "ledger", "adopt", "1")
        assert refused.code == 1 and "--ahead" in refused.err
        assert (await call(run, "ledger", "adopt", "1", "--ahead", "7")).code == 1
        adopted = await call(run, "ledger", "adopt", "1", "--ahead", "0", "--at", "2", "--json")
        assert adopted.code == 0, adopted.err
        assert adopted.json["begins"] == {"0": 2, "1": 2}

        async def rest() -> bool:
            return await taken(run) == [*range(4), *range(10, 16)]

        await until(rest, "nothing of the new log is left out")
        await free(live)
    assert live.code == 0


async def test_a_ledger_that_lay_ahead_is_held_after_a_restart_though_the_log_has_grown_past_it(
    kafka: LocalKafka, topic: str, level1_url: str, tmp_path: Path
) -> None:
    run = await made(kafka, topic, level1_url, tmp_path)
    run.send([sent(number, partition=number % 2) for number in range(4)])
    assert await run.ingest() == 0
    await lose(run, 2, 4)
    async with living(run) as live:
        assert "[2, 4]" in await holds(live, "ledger_ahead")
    assert live.code == 1
    run.send([sent(number, partition=0) for number in range(10, 16)])
    async with living(run) as live:
        assert "[2, 4]" in await holds(live, "ledger_ahead")
        run.send([sent(7, partition=1)])

        async def other() -> bool:
            return 7 in await taken(run)

        await until(other, "the other partition goes on")
        assert await taken(run) == [*range(4), 7], "nothing of the new log is taken for what comes behind the old one"
        shown = await call(run, "ledger", "show", "--json")
        away = await call_away(run, "ledger", "show", "--json")
        for each in (shown, away):
            assert each.code == 1
            (held,) = [row for row in each.json["partitions"] if row["held"]]
            assert (held["held"], held["partition"], held["aheadOf"], held["missing"]) == ("ledger_ahead", 0, 2, [2, 4])
        adopted = await call(run, "ledger", "adopt", "1", "--at", "2", "--json")
        assert adopted.code == 0, adopted.err
        assert adopted.json["begins"] == {"0": 2, "1": 3}

        async def rest() -> bool:
            return await taken(run) == [*range(4), 7, *range(10, 16)]

        await until(rest, "nothing of the new log is left out")
        await free(live)
    assert live.code == 0
    assert [row for row in await rows(run.level1, "SELECT aheadOf FROM ledger") if row.aheadOf is not None] == []
    assert (await call(run, "status", "--json")).code == 0
