"""Named instants at which a test may kill or freeze this very process.

``SKYBURST_FAILPOINTS`` holds ``name=action@count`` pairs separated by commas: the `count`-th time (1 at first) that
the process passes `name`, it sends itself SIGKILL (``kill``) or SIGSTOP (``stop``). Each firing first appends a line to
the file that ``SKYBURST_FAILPOINTS_FIRED`` names, so that a test can prove that it happened. Without the variable a
failpoint costs one dictionary look-up.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stream.errors import Wrong

NAMES = (
    "before_append",
    "after_append",
    "after_sync",
    "before_ahead",
    "after_ahead",
    "after_begin",
    "after_fence",
    "after_segments",
    "after_refused",
    "after_rows",
    "after_repeats",
    "before_commit",
    "after_commit",
    "after_tell",
    "before_seal",
    "after_seal_files",
    "after_seal_row",
    "after_takeover_copy",
    "after_takeover_row",
    "after_sweep_row",
)
_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


@dataclass(slots=True)
class Failpoints:
    """The armed failpoints of this process: name -> (action, passes left before it fires)."""

    armed: dict[str, tuple[str, int]] = field(default_factory=dict)
    fired: Path | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Failpoints:
        """Read the two variables; an unknown name or action is refused, since it would never fire."""
        env = os.environ if environment is None else environment
        armed = {}
        for item in filter(None, env.get("SKYBURST_FAILPOINTS", "").split(",")):
            name, _, rest = item.partition("=")
            action, _, count = rest.partition("@")
            if name not in NAMES or action not in _SIGNALS:
                raise Wrong(
                    "failpoint_unknown", f"no failpoint {item!r}", f"names: {', '.join(NAMES)}; actions: kill, stop"
                )
            armed[name] = (action, int(count or 1))
        fired = env.get("SKYBURST_FAILPOINTS_FIRED")
        return cls(armed, Path(fired) if fired else None)

    def hit(self, name: str) -> None:
        """Pass the failpoint `name`."""
        if not self.armed or name not in self.armed:
            return
        action, left = self.armed[name]
        if left > 1:
            self.armed[name] = (action, left - 1)
            return
        del self.armed[name]
        if self.fired is not None:
            fd = os.open(self.fired, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.write(fd, f"{os.getpid()} {name} {action}\n".encode())
            os.close(fd)
        os.kill(os.getpid(), _SIGNALS[action])
