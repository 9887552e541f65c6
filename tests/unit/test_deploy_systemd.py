"""The systemd unit names only settings that exist, leaves SIGTERM its time to drain and keeps secrets out of view."""

from __future__ import annotations

import re
from pathlib import Path

from consumers.ingest import pulse, run
from stream.config import IngestSettings, Settings

UNIT = Path(__file__).resolve().parents[2] / "deploy" / "systemd" / "skyburst-ingest.service"


def values(key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text(), re.MULTILINE)


def test_every_variable_is_a_setting() -> None:
    known = {f"SKYBURST_{name}".upper() for name in Settings.model_fields}
    known |= {f"SKYBURST_INGEST_{name}".upper() for name in IngestSettings.model_fields}
    named = {value.split("=")[0].removesuffix("_FILE") for value in values("Environment")}
    assert named
    assert named <= known


def test_the_stop_waits_longer_than_the_drain() -> None:
    (seconds,) = values("TimeoutStopSec")
    drain = IngestSettings.model_fields["drain_deadline_s"].default
    assert float(seconds) >= 2 * drain


def test_the_watchdog_is_fed_often_and_outlasts_what_comes_after_the_last_pulse() -> None:
    assert values("Type") == ["notify"] and values("NotifyAccess") == ["main"]
    (seconds,) = values("WatchdogSec")
    assert float(seconds) >= 20 * pulse.TURN_S
    assert float(seconds) > run.FINISH_S + run.LAST_COMMIT_S
    assert "AF_UNIX" in values("RestrictAddressFamilies")[0]


def test_a_start_waits_for_a_database_that_is_away_as_the_daemon_does() -> None:
    assert values("TimeoutStartSec") == ["infinity"]


def test_the_database_url_comes_as_a_credential_only() -> None:
    assert values("LoadCredential") == ["level1:/etc/skyburst/level1"]
    assert not re.search(r"mysql|password=|--level1", UNIT.read_text())


def test_it_cannot_gain_rights_and_writes_only_its_own_folders() -> None:
    assert values("NoNewPrivileges") == ["yes"]
    assert values("ProtectSystem") == ["strict"]
    assert values("CapabilityBoundingSet") == [""]
    assert values("StateDirectory") == values("CacheDirectory") == ["skyburst"]
    assert "root" not in values("User")
