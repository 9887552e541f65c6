"""Writer schemas from a Confluent schema registry over HTTP.

A registry's ids never change their meaning, so that what was seen once is kept for ever, in memory and on disk. A
registry can be emptied and filled again, at each sync of a deployment: an id that an empty one denies is not unknown.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from stream.clock import Clock, SystemClock
from stream.codec.gate import MAX_TEXT, refused
from stream.codec.lookup import SchemaAway, SchemaUnknown
from stream.codec.references import MAX_REFERENCES, whole
from stream.codec.schema import WriterSchema
from stream.errors import Poison, SkyburstError, Wrong
from stream.tls import FILES, tls_of

ASK_AGAIN = 1.0
"""Seconds for which an answer of "away" or "unknown" stands before the registry is asked again."""
TIMEOUT = 5.0
"""Seconds that a request may take to connect, and between two pieces of its answer."""
LONGEST = 15.0
"""Seconds after which an answer that still comes is given up."""
MAX_ANSWER = 4 * MAX_TEXT
"""Bytes of an answer: a schema's text, escaped."""


class RegistrySchemas:
    """A registry, asked once for each id.

    Parameters
    ----------
    url
        Its address; a user and a password in it are sent as basic authentication and shown nowhere. Behind a ``?`` an
        ``https`` one takes PEM files: ``ssl_ca`` checks the server, ``ssl_cert`` and ``ssl_key`` are our own.
    cache
        Folder that keeps the schemas across restarts; None for none.
    clock
        For `ASK_AGAIN` and `LONGEST`.

    Raises
    ------
    Wrong
        ``schema_source``: not a URL, or one whose files cannot be used.
    """

    def __init__(self, url: str, cache: Path | None = None, *, clock: Clock | None = None) -> None:
        parsed = _address(url)
        files = dict(parsed.params)
        self._auth = (parsed.username, parsed.password) if parsed.username else None
        self._url = parsed.copy_with(username=None, password=None, query=None)
        self._folder = cache / hashlib.sha256(str(self._url).encode()).hexdigest()[:16] if cache else None
        self._clock = clock or SystemClock()
        self._known: dict[int, WriterSchema | Poison] = {}
        self._failed: dict[int, tuple[float, SkyburstError]] = {}
        self._away: tuple[float, SchemaAway] | None = None
        self._lock = threading.Lock()
        self._client = httpx.Client(
            auth=self._auth,
            timeout=TIMEOUT,
            verify=tls_of(files, "schema_source", "the registry") if files else True,
            follow_redirects=False,
            trust_env=False,
            headers={"accept-encoding": "identity"},
        )

    def get(self, schema_id: int) -> WriterSchema:
        """See `SchemaSource.get`."""
        found = self._known.get(schema_id)
        if found is None:
            with self._lock:
                found = self._known.get(schema_id) or self._kept(schema_id) or self._asked(schema_id)
                self._known[schema_id] = found
        if isinstance(found, Poison):
            raise Poison(found.code, found.message, found.advice)
        return found

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _kept(self, schema_id: int) -> WriterSchema | None:
        if self._folder is None:
            return None
        try:
            return WriterSchema.of((self._folder / f"{schema_id}.avsc").read_bytes().decode(), schema_id)
        except (OSError, UnicodeDecodeError, Poison):
            return None

    def _asked(self, schema_id: int) -> WriterSchema | Poison:
        now = self._clock.monotonic()
        if self._away is not None and now - self._away[0] < ASK_AGAIN:
            raise SchemaAway(self._away[1].message)
        failed = self._failed.get(schema_id)
        if failed is not None and now - failed[0] < ASK_AGAIN:
            raise SchemaUnknown(schema_id, str(self._url))
        try:
            text = self._fetch(schema_id)
        except SchemaAway as away:
            self._away = self._clock.monotonic(), away
            raise
        except SchemaUnknown as unknown:
            now = self._clock.monotonic()
            self._failed = {key: value for key, value in self._failed.items() if now - value[0] < ASK_AGAIN}
            self._failed[schema_id] = now, unknown
            raise
        except Poison as poison:
            return poison
        return self._taken(schema_id, text)

    def _taken(self, schema_id: int, text: str) -> WriterSchema | Poison:
        try:
            schema = WriterSchema.of(text, schema_id)
        except Poison as poison:
            return poison
        if self._folder is not None:
            self._keep(self._folder, schema)
        return schema

    def _keep(self, folder: Path, schema: WriterSchema) -> None:
        fresh = folder / f".{schema.id}.{secrets.token_hex(8)}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            fresh.write_bytes(schema.text.encode())
            fresh.replace(folder / f"{schema.id}.avsc")
        except OSError:
            # Memory still has it; a restart asks the registry again.
            with contextlib.suppress(OSError):
                fresh.unlink()

    def _fetch(self, schema_id: int) -> str:
        status, answer = self._request(f"schemas/ids/{schema_id}")
        if status == 404:
            status, subjects = self._request("subjects")
            if status != 200 or not isinstance(subjects, list):
                raise SchemaAway(f"{self._answered(status)} when asked for its subjects")
            if not subjects:
                raise SchemaAway(f"the registry {self._url} is empty")
            raise SchemaUnknown(schema_id, str(self._url))
        if status != 200 or not isinstance(answer, dict):
            raise SchemaAway(f"{self._answered(status)} when asked for schema {schema_id}")
        kind = answer.get("schemaType") or "AVRO"
        if kind != "AVRO":
            raise refused(f"schema {schema_id} is {str(kind)[:40]!r}, not Avro")
        if not isinstance(answer.get("schema"), str):
            raise SchemaAway(f"the registry {self._url} gives no text for schema {schema_id}")
        text = str(answer["schema"])
        return whole(text, self._referred(schema_id, answer)) if answer.get("references") else text

    def _referred(self, schema_id: int, answer: dict[str, Any]) -> list[str]:
        """The texts of all schemas that one needs."""
        texts: dict[str, str] = {}
        left, begun = [answer], self._clock.monotonic()
        while left:
            for path in _paths(left.pop()):
                if path in texts:
                    continue
                if len(texts) == MAX_REFERENCES:
                    raise refused(f"schema {schema_id} needs more than {MAX_REFERENCES} other subjects")
                if self._clock.monotonic() - begun > LONGEST:
                    raise SchemaAway(
                        f"the registry {self._url} did not answer for schema {schema_id} in {LONGEST:.0f} s"
                    )
                status, other = self._request(path)
                if status == 404:
                    raise SchemaUnknown(schema_id, str(self._url))
                if status != 200 or not isinstance(other, dict) or not isinstance(other.get("schema"), str):
                    raise SchemaAway(f"{self._answered(status)} when asked for {path}")
                texts[path] = other["schema"]
                left.append(other)
        return list(texts.values())

    def _answered(self, status: int) -> str:
        said = f"the registry {self._url} answers {status} {httpx.codes.get_reason_phrase(status)}".rstrip()
        return said if status != 200 else f"{said} with no JSON of a registry, or more than {MAX_ANSWER} bytes,"

    def _request(self, path: str) -> tuple[int, Any]:
        """Status and parsed answer; None for an answer that is not JSON or too long."""
        body, begun = bytearray(), self._clock.monotonic()
        try:
            address = str(self._url).rstrip("/") + "/" + path
            with self._client.stream("GET", address) as response:
                for piece in response.iter_bytes():
                    body += piece
                    if len(body) > MAX_ANSWER:
                        return response.status_code, None
                    if self._clock.monotonic() - begun > LONGEST:
                        raise SchemaAway(f"the registry {self._url} did not finish its answer in {LONGEST:.0f} s")
                status = response.status_code
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            raise SchemaAway(f"the registry {self._url} cannot be reached: {error}") from error
        try:
            return status, json.loads(body)
        except (ValueError, RecursionError):
            return status, None


def _address(url: str) -> httpx.URL:
    """The address of a registry, parsed. Its errors show nothing of what may be a password."""
    advice = "in a user or a password / ? # @ are written as %2F %3F %23 %40"
    try:
        parsed = httpx.URL(url)
        host = parsed.host
        host.encode("idna")
    except (httpx.InvalidURL, UnicodeError) as error:
        if "@" in url:
            raise Wrong("schema_source", "not the URL of a registry", advice) from None
        raise Wrong("schema_source", f"not the URL of a registry: {error}") from error
    if not host:
        raise Wrong("schema_source", "the URL of the registry names no host")
    if "#" in url or b"@" in parsed.raw_path or not FILES.issuperset(parsed.params):
        text = "the URL of the registry has a #, an @ or an unknown option behind its host"
        raise Wrong("schema_source", text, f"{advice}; options are {', '.join(sorted(FILES))}")
    if parsed.params and parsed.scheme != "https":
        raise Wrong(
            "schema_source", "the URL of the registry names files for TLS and is no https one", "write https://"
        )
    return parsed


def _paths(answer: dict[str, Any]) -> list[str]:
    """Where a registry has the schemas to which an answer of its refers."""
    references = answer.get("references") or []
    try:
        named = [(quote(str(one["subject"]), safe=""), int(one["version"])) for one in references]
    except (TypeError, KeyError, ValueError, OverflowError) as error:
        raise refused("its references do not name a subject and a version each") from error
    return [f"subjects/{subject}/versions/{version}" for subject, version in named]
