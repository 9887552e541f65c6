"""The recorded exchanges of a live ingest service, asked of the double in order, and what may differ in its answers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TIMES = "the clock is another one; whether a time is set is compared"
PLACES = "another machine, other ports"
NORMALISED = {
    **dict.fromkeys(("create_time", "start_time", "read_time", "load_time", "publish_time", "update_time"), TIMES),
    **dict.fromkeys(("begin_time", "end_time", "transition_time", "time"), TIMES),
    **dict.fromkeys(("first_contrib_begin", "last_contrib_end"), TIMES),
    **dict.fromkeys(("host", "host_name", "http_host", "http_host_name", "http_port", "port"), PLACES),
    "job": "drawn anew for each job; whether there is one is compared",
    "tmp_file": "has random letters; that it names database, table, chunk and transaction is compared",
}
"""Keys whose values cannot be equal, and why."""
IN_TEXTS = {
    r"Connection\[\d+\]": "numbers of the service's connections to MySQL",
    r"JOB     \S+": "the id of a job",
    r"(?<=-)[0-9a-f]{4}(-[0-9a-f]{4}){3}\.csv": "the random letters of a temporary file",
    r"\"create_time\":\d+": TIMES,
    r"(?<=,0,0,0,0,)\d{13}(?=,0,0,0,)": TIMES,
}
"""What in error messages cannot be equal, and why."""
NOT_REPRODUCED: dict[str, dict[str, str]] = {
    "001_meta_version": {"id": "the controller's id is drawn at its start"},
    "003_config_get": {
        "config.meta": "upstream's descriptions of its own settings, of no use to a loader",
        "config.general.common": "internals of the real service",
        "config.general.controller": "internals of the real service; the double tells its port",
        "config.general.database": "internals of the real service",
        "config.general.registry": "internals of the real service",
        "config.general.worker": "internals of the real service; the double tells what concerns contributions",
        "config.general.xrootd": "internals of the real service",
        "config.workers": "internals of the real workers; the double tells names, hosts and ports",
    },
}
"""What of an answer the double does not give as recorded, by recording and path, and why."""
SENT_TO = {
    "042_csv_wrong_worker": "worker1",
    **dict.fromkeys(("065_csv_after_commit", "070_data_json_null", "071_data_json_short_row"), "worker1"),
    **dict.fromkeys(("072_data_json_rows_empty", "073_data_json_nan_row1", "077_csv_too_few_columns"), "worker1"),
    **dict.fromkeys(("079_csv_nan_first_row", "081_csv_no_trailing_newline", "002_meta_version_worker"), "worker1"),
}
"""To which worker a request went whose answer does not say so; worker2 where it is not here."""
UPSTREAM = "http://127.0.0.1:25999/"
"""Where the recorded files were served."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One exchange."""

    name: str
    service: str
    method: str
    path: str
    query: dict[str, Any]
    headers: dict[str, str]
    body: dict[str, Any] | None
    status: int
    content_type: str
    answer: Any

    @property
    def number(self) -> int:
        """Its place in the story."""
        return int(self.name[:3])

    @property
    def worker(self) -> str:
        """The worker that was asked."""
        told = self.answer if isinstance(self.answer, dict) else {}
        contribs = [told.get("contrib"), *(told.get("contribs") or [])]
        named = next((each["worker"] for each in contribs if each), None)
        return str(named or SENT_TO.get(self.name, "worker2"))


def recordings(folder: Path) -> Iterator[Recording]:
    """All exchanges, in order."""
    for path in sorted((folder / "qserv" / "api_recordings").glob("*.json")):
        told = json.loads(path.read_text())
        yield Recording(
            path.stem,
            told["service"],
            told["method"],
            told["path"],
            told["query"] or {},
            told["request_headers"] or {},
            told["request_body"],
            told["http_status"],
            told["response_content_type"],
            told["response"],
        )


def input_file(folder: Path, table: str, name: str) -> Path:
    """The file that was contributed: the recordings name it, the golden data have it."""
    case = folder / "qserv" / "case02_test101"
    return case / "input" / name if table == "Filter" else case / "expected" / table / name


def normalised(value: Any, key: str = "", undo: Callable[[str], str] = str) -> Any:
    """An answer without what cannot be equal; `undo` puts the recorded places of input files back."""
    if isinstance(value, dict):
        return {name: normalised(each, name, undo) for name, each in value.items()}
    if isinstance(value, list):
        return [normalised(each, key, undo) for each in value]
    if key in NORMALISED and key != "tmp_file":
        return f"<{key}>" if value or NORMALISED[key] is PLACES else value
    if isinstance(value, str):
        value = undo(value)
        for pattern in IN_TEXTS:
            value = re.sub(pattern, "<…>", value)
    return value


def differences(recorded: Any, told: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two normalised answers differ: path, recorded, told."""
    if isinstance(recorded, dict) and isinstance(told, dict):
        for name in sorted(recorded.keys() | told.keys()):
            at = f"{path}.{name}" if path else name
            yield from differences(recorded.get(name, "<absent>"), told.get(name, "<absent>"), at)
    elif isinstance(recorded, list) and isinstance(told, list) and len(recorded) == len(told):
        for number, (one, other) in enumerate(zip(recorded, told, strict=True)):
            yield from differences(one, other, f"{path}[{number}]")
    elif recorded != told or type(recorded) is not type(told):
        yield path, recorded, told
