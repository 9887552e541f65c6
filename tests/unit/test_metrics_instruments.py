"""Metrics: declared once, bounded, exact, and accepted by Prometheus' own parser."""

from __future__ import annotations

import re

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from stream import metrics
from stream.clock import ManualClock
from stream.instruments import Counter, Declared, Gauge, Histogram, RatePeak


def declared(kind: str, *labels: str, limit: int = 10, buckets: tuple[float, ...] = ()) -> Declared:
    name = "skyburst_try" + ("_total" if kind == "counter" else "")
    return Declared(name, kind, "A try.", labels, limit, buckets)


def samples(registry: CollectorRegistry) -> dict[str, float]:
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        sample.name + "".join(f"|{k}={v}" for k, v in sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def test_a_counter_counts_by_label_and_is_exposed() -> None:
    registry = CollectorRegistry()
    counter = Counter(declared("counter", "code"), registry)
    counter.add(code="magic")
    counter.add(2, code="magic")
    assert samples(registry) == {"skyburst_try_total|code=magic": 3.0}
    assert counter.value(code="magic") == 3.0


def test_a_counter_without_labels_begins_at_zero_and_never_shrinks() -> None:
    registry = CollectorRegistry()
    counter = Counter(declared("counter"), registry)
    assert samples(registry) == {"skyburst_try_total": 0.0}
    with pytest.raises(ValueError, match="only grows"):
        counter.add(-1)


def test_known_series_begin_at_zero_so_that_the_first_burst_is_an_increase() -> None:
    registry = CollectorRegistry()
    one = Declared("skyburst_try_total", "counter", "A try.", ("code",), 10, known=(("magic",), ("codec",)))
    counter = Counter(one, registry)
    assert samples(registry) == {"skyburst_try_total|code=magic": 0.0, "skyburst_try_total|code=codec": 0.0}
    counter.add(500, code="magic")
    assert samples(registry)["skyburst_try_total|code=magic"] == 500.0


@pytest.mark.parametrize("labels", [{}, {"other": "x"}, {"code": "x", "more": "y"}])
def test_other_labels_than_the_declared_are_refused(labels: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="has the labels"):
        Counter(declared("counter", "code"), CollectorRegistry()).add(1, **labels)


def test_series_are_bounded_and_nothing_is_lost_beyond() -> None:
    registry = CollectorRegistry()
    counter = Counter(declared("counter", "code", limit=10), registry)
    for number in range(100):
        counter.add(code=f"c{number}")
    found = samples(registry)
    assert len(found) == 11 and found["skyburst_try_total|code=other"] == 90.0


def test_a_gauge_is_set_followed_and_dropped() -> None:
    registry = CollectorRegistry()
    gauge = Gauge(declared("gauge", "partition"), registry)
    gauge.set(5, partition="0")
    gauge.follow(lambda: 7.5, partition="1")
    assert samples(registry) == {"skyburst_try|partition=0": 5.0, "skyburst_try|partition=1": 7.5}
    gauge.drop(partition="0")
    gauge.drop(partition="1")
    assert samples(registry) == {} and gauge.value(partition="0") is None


def test_a_histogram_takes_a_batch_and_a_bound_belongs_to_its_bucket() -> None:
    registry = CollectorRegistry()
    histogram = Histogram(declared("histogram", buckets=(0.1, 1.0)), registry)
    histogram.observe(np.array([0.1, 0.05, 0.5, 1.0, 7.0, np.nan]))
    histogram.observe(2)
    histogram.observe([])
    assert samples(registry) == {
        "skyburst_try_bucket|le=0.1": 2.0,
        "skyburst_try_bucket|le=1": 4.0,
        "skyburst_try_bucket|le=+Inf": 6.0,
        "skyburst_try_count": 6.0,
        "skyburst_try_sum": pytest.approx(10.65),
    }
    assert histogram.count() == 6


def test_the_peak_sees_a_burst_across_the_edge_of_a_second_and_begins_anew() -> None:
    clock = ManualClock(ticks=100.0)
    peak = RatePeak(clock)
    clock.advance(0.75)
    peak.add(1000)
    clock.advance(0.5)
    peak.add(1000)
    clock.advance(5.0)
    peak.add(3)
    assert peak.take() == 2000.0
    assert peak.take() == 3.0
    clock.advance(2.0)
    peak.take()
    assert peak.take() == 0.0


def test_two_bursts_more_than_a_second_apart_do_not_add_up() -> None:
    clock = ManualClock()
    peak = RatePeak(clock)
    peak.add(10)
    clock.advance(1.1)
    peak.add(10)
    assert peak.take() == 10.0


def test_every_metric_is_named_as_prometheus_asks() -> None:
    assert metrics.DECLARED
    for name, each in metrics.DECLARED.items():
        assert re.fullmatch(r"skyburst_[a-z_]+", name) and each.doc.endswith("."), name
        assert name.endswith("_total") == (each.kind == "counter"), name
        assert not re.search(r"_(ms|milliseconds|kb|mb|count|sum)$", name), name
        assert not {"id", "visit", "offset"} & set(each.labels), name
        if each.kind == "histogram":
            assert list(each.buckets) == sorted(set(each.buckets)), name


def test_the_latency_has_the_buckets_of_the_promise() -> None:
    assert metrics.LATENCY_S == (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300)
    assert metrics.DECLARED["skyburst_end_to_end_latency_seconds"].buckets == metrics.LATENCY_S


def test_an_arrival_is_counted_three_ways() -> None:
    before = metrics.ARRIVED_RECORDS.value(topic="t")
    metrics.PEAK.take()
    metrics.arrived("t", 7, 700)
    assert metrics.ARRIVED_RECORDS.value(topic="t") == before + 7
    assert (metrics.ARRIVAL_PEAK.value() or 0) >= 7


def test_the_whole_exposition_parses_and_has_every_metric_help_and_type() -> None:
    metrics.say_build("a")
    text = generate_latest(metrics.REGISTRY).decode()
    helped = set(re.findall(r"^# HELP (skyburst_\w+) ", text, re.MULTILINE))
    assert set(metrics.DECLARED) == helped
    assert "skyburst_build_info{" in text
