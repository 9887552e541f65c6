"""The dashboard and the rules stand on metrics that exist, and every metric is to be seen somewhere."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import generate_latest

from stream import metrics
from stream.commit import ledger
from stream.instruments import Counter, Gauge, Histogram

PROJECT = Path(__file__).resolve().parents[2]
DASHBOARD = PROJECT / "deploy/grafana/skyburst.json"
RULES = PROJECT / "deploy/prometheus/skyburst.rules.yml"
RULE_TESTS = PROJECT / "deploy/prometheus/skyburst.rules.test.yml"

FOREIGN = {"up", "ALERTS", "process_resident_memory_bytes", "process_cpu_seconds_total"}
"""Names in expressions that Prometheus or the client library makes."""

WITHOUT_PANEL: dict[str, str] = {}
"""Metrics that need no panel, each with the reason."""


@cache
def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return loaded


@cache
def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def panel_expressions() -> Iterator[tuple[str, str]]:
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for annotation in dashboard()["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]


def rule_expressions() -> Iterator[tuple[str, str]]:
    for rule in rules():
        yield rule.get("alert") or rule["record"], rule["expr"]


def parsed(expression: str) -> Any:
    plain = expression.replace("$__rate_interval", "1m").replace("$__interval", "1m").replace("$instance", ".*")
    return promql_parser.parse(plain)


def names(node: Any) -> set[str]:
    """Names of all series that an expression reads."""
    if isinstance(node, promql_parser.VectorSelector):
        return {node.name or next(m.value for m in node.matchers.matchers if m.name == "__name__")}
    if isinstance(node, promql_parser.MatrixSelector):
        return names(node.vector_selector)
    if isinstance(node, promql_parser.BinaryExpr):
        return names(node.lhs) | names(node.rhs)
    if isinstance(node, promql_parser.Call):
        return set().union(*map(names, node.args)) if node.args else set()
    if isinstance(node, promql_parser.NumberLiteral | promql_parser.StringLiteral):
        return set()
    return names(node.expr)


def known_series() -> set[str]:
    found = set(FOREIGN) | {rule["record"] for rule in rules() if "record" in rule}
    for name, declared in metrics.DECLARED.items():
        parts = ("_bucket", "_sum", "_count") if declared.kind == "histogram" else ("",)
        found |= {name + part for part in parts}
    return found


EXPRESSIONS = [*panel_expressions(), *rule_expressions()]


@pytest.mark.parametrize("where, expression", EXPRESSIONS, ids=[where for where, _ in EXPRESSIONS])
def test_an_expression_parses_and_reads_only_what_exists(where: str, expression: str) -> None:
    assert names(parsed(expression)) <= known_series()


def test_the_reader_of_expressions_sees_through_every_kind_of_node() -> None:
    text = 'sum(rate(a[5m])) / (-b{x="1"} or vector(0)) > max_over_time(rate(c[1m])[5m:1m]) and time() - {__name__="d"}'
    assert names(parsed(text)) == {"a", "b", "c", "d"}
    with pytest.raises(ValueError):
        parsed("sum(rate(a[5m])")


def test_labels_in_expressions_are_declared() -> None:
    everywhere = {"instance", "job", "le", "alertname", "alertstate"}
    for where, expression in EXPRESSIONS:
        for name, matchers in re.findall(r"\b(skyburst_\w+)\{([^}]*)\}", expression):
            declared = metrics.DECLARED.get(name) or metrics.DECLARED[re.sub(r"_(bucket|sum|count)$", "", name)]
            used = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
            assert used <= {*declared.labels, *everywhere}, (where, name)


def test_what_every_process_has_is_asked_of_the_daemons_alone() -> None:
    for where, expression in EXPRESSIONS:
        for name, matchers in re.findall(r"\b(up|process_\w+)\b(?:\{([^}]*)\})?", expression):
            assert 'job="skyburst"' in matchers, (where, name)


def test_an_instance_that_does_not_answer_counts_as_not_ready() -> None:
    (panel,) = [panel for panel in dashboard()["panels"] if panel["title"] == "Ready instances"]
    exprs = {target["legendFormat"]: target["expr"] for target in panel["targets"]}
    assert {"up", "skyburst_ready"} <= names(parsed(exprs["not ready"]))
    assert exprs["not ready"].endswith(f"- ({exprs['ready']})")


def test_every_metric_has_a_panel_or_a_reason_for_none() -> None:
    recorded = {rule["record"]: names(parsed(rule["expr"])) for rule in rules() if "record" in rule}
    shown: set[str] = set()
    for _, expression in panel_expressions():
        for name in names(parsed(expression)):
            shown |= recorded.get(name, set()) | {name}
    bare = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    missing = set(metrics.DECLARED) - bare - set(WITHOUT_PANEL)
    assert not missing
    assert not set(WITHOUT_PANEL) & bare, "has a panel: needs no waiver"


def test_every_metric_is_fed_by_somebody() -> None:
    declared = {
        name: value.declared.name
        for name, value in vars(metrics).items()
        if isinstance(value, Counter | Gauge | Histogram)
    }
    assert set(declared.values()) == set(metrics.DECLARED)
    rooms = ("stream", "producers", "consumers")
    text = "\n".join(path.read_text() for room in rooms for path in (PROJECT / room).rglob("*.py"))
    uses = {name: len(re.findall(rf"\b{name}\b", text)) for name in declared}
    assert not [declared[name] for name, count in uses.items() if count < 2]
    assert "metrics.arrived(" in text


def test_the_dashboard_has_the_shape_that_grafana_reads() -> None:
    board = dashboard()
    assert board["uid"] == "skyburst" and board["schemaVersion"] >= 36 and board["timezone"] == "utc"
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["description"] and panel["fieldConfig"]["defaults"].get("unit", "s"), panel["title"]
            assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_every_alert_says_what_it_is_and_where_its_runbook_is() -> None:
    text = (PROJECT / "docs/operating.md").read_text()
    anchors = {
        re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", text, re.M)
    }
    for rule in rules():
        if "alert" in rule:
            assert rule["labels"]["severity"] in ("page", "warn")
            assert {"summary", "description", "runbook"} == set(rule["annotations"])
            file, _, anchor = rule["annotations"]["runbook"].partition("#")
            assert file == "docs/operating.md" and anchor in anchors, anchor


def test_every_alert_is_seen_to_fire_in_the_tests_of_the_rules() -> None:
    tried = yaml.safe_load(RULE_TESTS.read_text())["tests"]
    fired = {
        re.search(r'alertname="(\w+)"', case["expr"])[1]  # type: ignore[index]
        for test in tried
        for case in test["promql_expr_test"]
        if "alertname" in case["expr"] and case["exp_samples"]
    }
    assert fired == {rule["alert"] for rule in rules() if "alert" in rule}


def test_every_code_of_quarantine_has_its_series_from_the_start() -> None:
    text = (PROJECT / "docs/operating.md").read_text()
    section = text.partition("**Packets in quarantine.**")[2].partition("**Somebody else moved on.**")[0]
    titles = " ".join(re.findall(r"^### (.*)$", section, re.M))
    codes = set(re.findall(r"`(\w+)`", titles)) - {"headers_lost", "quarantined"} | {"schema_unknown"}
    assert {code for (code,) in metrics.QUARANTINED.declared.known} == codes


def test_what_alerts_count_by_label_has_series_before_anything_happened() -> None:
    fresh = subprocess.run(
        [
            sys.executable,
            "-c",
            "import prometheus_client as p, stream.metrics as m; print(p.generate_latest(m.REGISTRY).decode())",
        ],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    for series in (
        'skyburst_quarantined_total{code="truncated"} 0.0',
        f'skyburst_records_total{{outcome="new",sink="{ledger.SINK}"}} 0.0',
        'skyburst_ledger_fenced_total{fence="ledger_fenced"} 0.0',
        'skyburst_rebalances_total{event="lost"} 0.0',
        'skyburst_segments_sealed_total{reason="takeover"} 0.0',
    ):
        assert series in fresh


@pytest.fixture(scope="module")
def promtool() -> str:
    places = (
        os.environ.get("SKYBURST_PROMTOOL"),
        shutil.which("promtool"),
        PROJECT / ".local/promtool/usr/bin/promtool",
    )
    for place in places:
        if place and Path(place).exists():
            return str(place)
    if os.environ.get("CI") == "true":
        pytest.fail("promtool is not there: run deploy/prometheus/fetch-promtool.sh")
    pytest.skip("promtool is not there: run deploy/prometheus/fetch-promtool.sh")


def told(*command: str | Path, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in command], input=text, capture_output=True, text=True, timeout=120)


def test_promtool_takes_the_rules(promtool: str) -> None:
    ended = told(promtool, "check", "rules", "--lint=all", "--lint-fatal", RULES)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_promtool_sees_the_alerts_fire_and_stay_silent(promtool: str) -> None:
    ended = told(promtool, "test", "rules", RULE_TESTS)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("before, after", [("< 0.98", "< 0.9"), ("> 30\n        for: 30s", "> 3000\n        for: 30s")])
def test_the_tests_of_the_rules_fail_on_a_wrong_rule(promtool: str, tmp_path: Path, before: str, after: str) -> None:
    text = RULES.read_text()
    assert before in text
    (tmp_path / RULES.name).write_text(text.replace(before, after))
    shutil.copy(RULE_TESTS, tmp_path)
    assert told(promtool, "test", "rules", tmp_path / RULE_TESTS.name).returncode != 0


def test_promtool_takes_the_exposition(promtool: str) -> None:
    metrics.say_build("a")
    metrics.arrived("t", 1, 1)
    metrics.END_TO_END.observe([0.1, 70.0])
    metrics.FLUSH_DURATION.observe(0.1, sink="alertdb", stage="sync")
    metrics.HELD_PARTITIONS.set(1, code="offsets_expired")
    ended = told(promtool, "check", "metrics", text=generate_latest(metrics.REGISTRY).decode())
    assert ended.returncode == 0, ended.stdout + ended.stderr
