"""What an offset means that the broker refuses, by its log now."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from stream.transport.kafka.trouble import outside_log, trouble_code

A = ("t", 0)


@pytest.mark.parametrize(
    ("position", "code", "missing"),
    [(2, "offsets_expired", (2, 5)), (12, "ledger_ahead", (9, 12)), (9, "ledger_ahead", None)],
)
def test_an_offset_that_was_refused_is_trouble_even_where_the_log_has_grown_past_it_since(
    position: int, code: str, missing: tuple[int, int] | None
) -> None:
    found = outside_log(A, position, 5, 9)
    assert (found.code, found.position, found.missing) == (code, position, missing)


def test_a_log_that_was_cut_off_is_a_ledger_ahead() -> None:
    assert trouble_code(KafkaError(KafkaError._LOG_TRUNCATION)) == "ledger_ahead"
    assert trouble_code(KafkaError(KafkaError._AUTO_OFFSET_RESET)) == "offsets_expired"
