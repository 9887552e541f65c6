"""What the demo says at its end: figures, one alert, each invariant, and whether all of it is as it should be."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stream.cli.demo.packets import Sent
from stream.cli.demo.run import Came, Places

MB = 1e6


@dataclass(frozen=True, slots=True)
class Summary:
    """One run, judged."""

    places: Places
    sent: Sent
    came: Came
    seconds: float

    def wrong(self) -> Iterator[str]:
        """What is not as it should be; nothing where all holds."""
        wanted = {"new": self.sent.new, "repeated": self.sent.repeated, "conflict": 0, "quarantined": self.sent.damaged}
        for name, number in wanted.items():
            if self.came.counts[name] != number:
                yield f"{self.came.counts[name]} packets are {name}, not {number}"
        if self.came.replay["acknowledged"] != sum(wanted.values()):
            yield f"{self.came.replay['acknowledged']} messages were acknowledged, not {sum(wanted.values())}"
        if self.came.lacking:
            yield f"{self.came.lacking} of the real packets did not come back byte for byte"
        if len(self.came.latency) != sum(wanted.values()) or not np.isfinite(self.came.latency).all():
            yield "not every message was seen committed"
        if self.came.verify_code:
            yield "verify found something: see above"

    def document(self) -> dict[str, Any]:
        """All of it, for programs."""
        return {
            "holds": not list(self.wrong()),
            "wrong": list(self.wrong()),
            "survey": self.sent.survey,
            "packets": {
                "real": [str(path) for path in self.sent.real],
                "made": self.sent.made,
                "twice": self.sent.repeated,
                "damaged": self.sent.damaged,
            },
            "counts": self.came.counts,
            "latency_s": self.latency(),
            "bytes": {"in": self.came.replay["bytes"], "alertdb": self.came.disk, "level1": self.came.level1},
            "seconds": round(self.seconds, 1),
            "files": {
                "folder": str(self.places.folder),
                "alertdb": str(self.places.alertdb),
                "level1": self.places.level1,
                "config": str(self.places.config),
            },
            "alert": {**self.came.alert, "bytes": self.came.alert_bytes},
            "verify": self.came.verify,
        }

    def latency(self) -> dict[str, float]:
        """Seconds from Kafka's timestamp until seen committed."""
        if not len(self.came.latency):
            return {}
        p50, p98, longest = np.quantile(self.came.latency, [0.5, 0.98, 1.0])
        return {"p50": round(float(p50), 3), "p98": round(float(p98), 3), "max": round(float(longest), 3)}

    def figures(self) -> dict[str, str]:
        """For people."""
        counts, into = self.came.counts, float(self.came.replay["bytes"])
        real = f"{len(self.sent.real)} real, of {self.sent.real[0].parent}" if self.sent.real else "none real"
        latency = " ".join(f"{name} {seconds:.2f} s" for name, seconds in self.latency().items())
        ratio = f" ({self.came.disk / into:.2f} of it)" if into else ""
        return {
            "packets": f"{real}; {self.sent.made:,} made",
            "kept": "  ".join(f"{name} {number:,}" for name, number in counts.items()),
            "latency": f"{latency} (Kafka timestamp to committed)",
            "in": f"{into / MB:.1f} MB",
            "on disk": f"{self.came.disk / MB:.1f} MB{ratio}, Level-1 {self.came.level1 / MB:.1f} MB",
            "files": _short(self.places.folder),
            "took": f"{self.seconds:.0f} s",
        }

    def alert(self) -> dict[str, str]:
        """One alert, in short."""
        shown = {
            name: f"{v:.6g}" if name in ("psfFlux", "snr") and v is not None else v
            for name, v in self.came.alert.items()
        }
        return {name: "" if value is None else str(value) for name, value in shown.items()} | {
            "packet": f"{self.came.alert_bytes:,} bytes"
        }

    def more(self) -> list[str]:
        """Commands to look around with, as they can be typed here."""
        source, visit = self.came.alert["diaSourceId"], self.came.alert["visit"]
        command, config = _command(), f"--config {_short(self.places.config)}"
        return [
            f"{command} {rest} {config}" for rest in (f"alert {source}", f"alerts --visit {visit}", "verify --offline")
        ]


def _command() -> str:
    return "skyburst" if shutil.which("skyburst") else _short(Path(sys.executable).parent / "skyburst")


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
