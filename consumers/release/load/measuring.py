"""Metrics of a load, on the conventions of ingest, as a text file that node_exporter collects.

A load is a process that ends, so nobody scrapes it; the file is written anew every few seconds and at the end.
"""

from __future__ import annotations

import time
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from consumers.release.load.progress import Progress
from stream.cli.output import writing
from stream.instruments import PREFIX, Counter, Declared, Gauge
from stream.retry import Waiting

DECLARED = {
    each.name: each
    for each in (
        Declared(f"{PREFIX}release_rows_total", "counter", "Rows committed to Qserv by this load.", (), 1),
        Declared(f"{PREFIX}release_bytes_total", "counter", "Bytes of files committed by this load.", (), 1),
        Declared(f"{PREFIX}release_transactions_total", "counter", "Super-transactions committed by this load.", (), 1),
        Declared(f"{PREFIX}release_retries_total", "counter", "Waits for something that was away.", ("code",), 200),
        Declared(f"{PREFIX}release_left_bytes", "gauge", "Bytes that are not committed yet.", (), 1),
        Declared(f"{PREFIX}release_inflight_bytes", "gauge", "Bytes loaded and not yet committed.", (), 1),
        Declared(f"{PREFIX}release_last_commit_timestamp_seconds", "gauge", "When the last commit ended.", (), 1),
    )
}
_EVERY_S = 5.0


class Measured:
    """Hands on what it hears to `shown`, and counts it.

    Parameters
    ----------
    shown
        Who tells the user.
    path
        The file; None writes none.
    """

    def __init__(self, shown: Progress, path: Path | None) -> None:
        self._shown, self._path = shown, path
        self.registry = CollectorRegistry(auto_describe=False)
        names = [DECLARED[name] for name in DECLARED]
        self._rows, self._bytes, self._transactions, self._retries = (
            Counter(each, self.registry) for each in names[:4]
        )
        self._left, self._inflight, self._last = (Gauge(each, self.registry) for each in names[4:])
        self._shares: dict[str, float] = {}
        self._to_come = 0
        self._written = 0.0

    def begins(self, rows: int, nbytes: int, transactions: int) -> None:
        self._to_come = nbytes
        self._left.set(nbytes)
        self._shown.begins(rows, nbytes, transactions)
        self._write()

    def done(self, rows: int, nbytes: int) -> None:
        self._rows.add(rows)
        self._bytes.add(nbytes)
        self._transactions.add()
        self._to_come -= nbytes
        self._left.set(self._to_come)
        self._last.set(time.time())
        self._shown.done(rows, nbytes)
        self._write()

    def under_way(self, share: float, key: str, nbytes: int) -> None:
        self._shares[key] = share * nbytes if share < 1 else 0.0
        self._inflight.set(sum(self._shares.values()))
        self._shown.under_way(share, key, nbytes)
        if time.monotonic() - self._written > _EVERY_S:
            self._write()

    def says(self, text: str) -> None:
        self._shown.says(text)

    def waits(self, waiting: Waiting) -> None:
        self._retries.add(code=waiting.error.code)
        self._shown.waits(waiting)
        self._write()

    def _write(self) -> None:
        if self._path is None:
            return
        self._written = time.monotonic()
        new = self._path.with_name(self._path.name + ".new")
        with writing(self._path):
            new.write_bytes(generate_latest(self.registry))
            new.replace(self._path)
