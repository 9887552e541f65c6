"""`python -m tests.bench`: rates, latencies and memory on this machine, beside plain ways to do the same."""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from tests.bench import many, report
from tests.bench.archive import look_up
from tests.bench.drain import Rate, compress, consume, drain
from tests.bench.live import live
from tests.bench.measures import DRAIN, MANY, NAIVE, RAW, READINGS, WARMING_UP, ZSTD, Results, measures
from tests.bench.naive import naive
from tests.bench.packets import Packets, fill, make, make_huge
from tests.bench.place import empty_place
from tests.bench.servers import Servers, servers
from tests.bench.stall import stall
from tests.bench.start import first_commit

PARTS = ("drain62", "big", "live", "burst", "alert", "drain265", "real", "memory", "start")
FOLDER = "SKYBURST_BENCH_FOLDER"
RATE = 260.0
"""Times that a topic is read before its drains are counted."""


class Bench:
    """One run: what was asked for, at which scale, and what came of it."""

    def __init__(self, of: Servers, parts: frozenset[str], scale: float, rounds: int) -> None:
        self._servers, self._parts, self._scale, self._rounds = of, parts, scale, rounds
        self.results = Results({}, {})

    def run(self) -> None:
        """Every part that was asked for; one size of packets in memory at a time."""
        if self._wants("drain62", "big", "live", "burst", "alert"):
            packets = self._made("62k", 40_000)
            if self._wants("drain62", "big", "alert"):
                self._drains(packets, self._scaled(4_000))
            if self._wants("live"):
                self._live("live62", packets.first(self._scaled(int(RATE * 120))), 120.0 * self._scale)
            if self._wants("burst"):
                self._live("burst", packets.first(self._scaled(10_000)), 5.0 * self._scale)
                self._live("visit", packets.first(self._scaled(40_000)), 20.0 * self._scale)
            del packets
        if self._wants("drain265"):
            self._drains(self._made("265k", 10_000), self._scaled(400))
        if self._wants("real"):
            self._live("real", self._made("real", int(RATE * 60)), 60.0 * self._scale)
        if self._wants("memory"):
            self._say("memory", self._stall)
        if self._wants("start"):
            self._say("start", self._start)

    def _wants(self, *parts: str) -> bool:
        return not self._parts.isdisjoint(parts)

    def _scaled(self, count: int) -> int:
        return max(1, int(count * self._scale))

    def _made(self, size: str, count: int) -> Packets:
        gc.collect()
        started = time.perf_counter()
        packets = make(size, self._scaled(count))
        spent = time.perf_counter() - started
        print(f"{len(packets):,} packets of {packets.nbytes / len(packets) / 1000:.1f} kB made in {spent:.0f} s")
        return packets

    def _drains(self, packets: Packets, naively: int) -> None:
        """The rounds, interleaved."""
        servers, size = self._servers, packets.size
        topic = fill(servers, packets)
        self._warm(topic, packets)
        for number in range(self._rounds):
            print(f"{size}, round {number + 1} of {self._rounds}")
            if self._wants("drain62" if size == "62k" else "drain265"):
                self._rate(size, RAW, consume(servers, topic, packets))
                self._rate(size, ZSTD, compress(packets))
            if self._wants("drain62" if size == "62k" else "drain265", "big"):
                with empty_place(servers, topic) as place:
                    self._rate(size, DRAIN, drain(place, packets))
            if size == "62k" and self._wants("big", "alert"):
                with many.many_place(servers, topic) as place:
                    self._rate(size, MANY, drain(place, packets))
                    if number == self._rounds - 1 and self._wants("alert"):
                        self.results.looked = look_up(place, packets, min(1000, len(packets)))
                        print(f"  alert by id: {self.results.looked.line()}")
            if self._wants("drain62" if size == "62k" else "drain265"):
                with empty_place(servers, topic) as place:
                    self._rate(size, NAIVE, naive(place, packets, naively))
        servers.forget(topic)

    def _warm(self, topic: str, packets: Packets) -> None:
        """Read the topic and drain it before the rounds: in its first minute a broker compiles its own code."""
        for _ in range(READINGS):
            consume(self._servers, topic, packets)
        with empty_place(self._servers, topic) as place:
            self._rate(packets.size, WARMING_UP, drain(place, packets))

    def _rate(self, size: str, what: str, rate: Rate) -> None:
        self.results.rates.setdefault(size, {}).setdefault(what, []).append(rate)
        print(f"  {what:18} {rate.line()}", flush=True)

    def _live(self, name: str, packets: Packets, seconds: float) -> None:
        print(f"{name}: {len(packets):,} packets in {seconds:g} s", flush=True)
        self.results.lives[name] = live(self._servers, packets, seconds)
        print(f"  {self.results.lives[name].line()}", flush=True)

    def _stall(self) -> str:
        self.results.stalled = stall(self._servers, make_huge(max(80, self._scaled(400))))
        return self.results.stalled.line()

    def _start(self) -> str:
        packets = make("62k", 1)
        self.results.starts = [first_commit(self._servers, packets) for _ in range(3)]
        return " ".join(f"{seconds:.2f} s" for seconds in self.results.starts)

    def _say(self, name: str, run: Callable[[], str]) -> None:
        print(f"{name}\n  {run()}", flush=True)


def main() -> int:
    """Run what the command line asks for; 0 where every target is met, 1 else."""
    asked = _arguments()
    parts = frozenset(asked.only.split(",")) if asked.only else frozenset(PARTS)
    if wrong := parts.difference(PARTS):
        sys.exit(f"there is no part {min(wrong)}; there are {', '.join(PARTS)}")
    signal.signal(signal.SIGTERM, interrupted)
    kept = Path(os.environ.get(FOLDER, ".local/bench")).absolute()
    scale = 0.1 if asked.quick else 1.0
    with servers(kept) as running:
        facts = {"machine": report.machine(), "versions": report.versions(running), "settings": report.settings()}
        for name, said in facts.items():
            print(f"{name}: " + "; ".join(f"{key} {value}" for key, value in said.items()), flush=True)
        if parts & {"big", "alert"}:
            spent = many.ensure(running, asked.rows)
            print("Level-1 with many rows: " + (f"filled in {spent:.0f} s" if spent else "kept from an earlier run"))
        started = time.monotonic()
        bench = Bench(running, parts, scale, asked.rounds or (2 if asked.quick else 3))
        bench.run()
    found = measures(bench.results)
    print(f"\n{time.monotonic() - started:.0f} s in all")
    if asked.quick:
        print("a tenth of everything: drains hardly get warm, bursts are over at once; the targets mean the whole")
    for each in found:
        print(each.line())
    whole = not asked.quick and parts == frozenset(PARTS) and asked.rows == many.ROWS
    folder = Path("docs") if whole else kept
    (folder / "benchmarks.json").write_text(report.as_json(bench.results, facts))
    (folder / "benchmarks.md").write_text(report.as_page(bench.results, facts))
    print(f"written to {folder}/benchmarks.md and .json")
    return 0 if all(each.met for each in found) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything, two rounds")
    parser.add_argument("--only", metavar="PART,…", help=f"some of {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=int, help="rounds of the interleaved drains")
    parser.add_argument("--rows", type=int, default=many.ROWS, help="rows of each of the four filled partitions")
    return parser.parse_args()


def interrupted(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends the benchmark as SIGINT does."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
