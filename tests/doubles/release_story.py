"""The run that was recorded, lived again by the double: what was not recorded in between is done, too."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from doubles.release_recordings import UPSTREAM, Recording, differences, input_file, normalised, recordings

from consumers.release.double import QservDouble

Difference = tuple[str, Any, Any]


class Story:
    """Asks a double what the live service was asked, in the same order."""

    def __init__(self, double: QservDouble, shared: Path, http: aiohttp.ClientSession, files: str) -> None:
        self._double, self._shared, self._http, self._files = double, shared, http, files
        self._told = list(recordings(shared))

    @classmethod
    @asynccontextmanager
    async def open(cls, double: QservDouble, shared: Path) -> AsyncIterator[Story]:
        """With a server of the input files."""
        app = web.Application()
        app.router.add_static("/", shared / "qserv" / "case02_test101" / "expected")
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        try:
            async with aiohttp.ClientSession() as http:
                yield cls(double, shared, http, f"http://127.0.0.1:{port}/")
        finally:
            await runner.cleanup()

    async def run(self) -> AsyncIterator[tuple[str, list[Difference]]]:
        """Each recording with the differences of the double's answer."""
        for each in self._told:
            await self._before(each)
            status, content_type, answer = await self._asked(each)
            recorded = {"status": each.status, "type": each.content_type, "answer": each.answer}
            told = {"status": status, "type": content_type, "answer": answer}
            found = differences(normalised(recorded), normalised(told, undo=self._undone))
            yield each.name, [(path.removeprefix("answer."), one, other) for path, one, other in found]

    async def _before(self, each: Recording) -> None:
        """What the recordings leave out."""
        if each.name in ("049_file_async_status", "051_file_async_read_failed"):
            await self._until_done(int(each.path.rsplit("/")[-1]))
        elif each.name == "094_publish_again_already_published":
            await self._hanging_publish()
        elif each.name == "096_db2_register":
            await self._unrecorded_database()

    async def _asked(self, each: Recording) -> tuple[int, str, Any]:
        service = "controller" if each.service == "controller" else each.worker
        body = dict(each.body) if each.body is not None else None
        data: Any = None
        headers = dict(each.headers)
        if body is not None and "file" in body:
            data = self._form(body)
        elif body is not None:
            if "url" in body:
                body["url"] = self._here(body["url"], body["table"])
            data = json.dumps(body).encode()
        url = f"{self._double.url_of(service)}/{each.path}"
        query = {name: str(value) for name, value in each.query.items()}
        async with self._http.request(each.method, url, params=query, data=data, headers=headers) as answer:
            told = await (answer.json() if answer.content_type == "application/json" else answer.text())
            return answer.status, answer.content_type, told

    def _form(self, body: dict[str, str]) -> aiohttp.FormData:
        form = aiohttp.FormData()
        named = re.fullmatch(r"<file (\S+)>", body["file"])
        for name, value in body.items():
            if name != "file":
                form.add_field(name, value)
        if named:
            table = "Object" if body["table"] == "Nope" else body["table"]
            path = input_file(self._shared, table, named[1])
            form.add_field("file", io.BytesIO(path.read_bytes()), filename=named[1], content_type="text/csv")
        else:
            form.add_field("file", io.BytesIO(body["file"].encode()), filename="x.csv", content_type="text/csv")
        return form

    def _here(self, url: str, table: str) -> str:
        if url.startswith("file:///data/"):
            return input_file(self._shared, table, url.rsplit("/", 1)[1]).as_uri()
        return url.replace(UPSTREAM, self._files)

    def _undone(self, text: str) -> str:
        case = (self._shared / "qserv" / "case02_test101").as_uri()
        text = re.sub(rf"^{re.escape(case)}/.*/", "file:///data/", text)
        return text.replace(self._files, UPSTREAM)

    async def _until_done(self, number: int) -> None:
        while True:
            url = f"{self._double.url_of('worker2')}/ingest/file-async/{number}"
            async with self._http.get(url, params={"version": "55"}) as answer:
                if (await answer.json())["contrib"]["status"] != "IN_PROGRESS":
                    return
            await asyncio.sleep(0.01)

    async def _hanging_publish(self) -> None:
        """As it was: publishing hung for ten minutes and was given up, and the database was published."""
        with self._double.troubles.hang_publish():
            asked = asyncio.create_task(self._ask("PUT", "controller", "ingest/database/test101", {}))
            while not self._double.memory.databases["test101"].is_published:
                await asyncio.sleep(0.01)
            asked.cancel()
            with suppress(asyncio.CancelledError):
                await asked

    async def _unrecorded_database(self) -> None:
        """A database test102 that is known from the lists, numbers 5 of transactions and 30 to 35 of contributions."""
        by_name = {each.name: each for each in self._told}
        for name in ("096_db2_register", "097_db2_table_Object", "098_db2_table_Source", "099_db2_table_Filter"):
            recorded = by_name[name]
            await self._ask("POST", "controller", recorded.path, (recorded.body or {}) | {"database": "test102"})
        trans = await self._ask("POST", "controller", "ingest/trans", {"database": "test102"})
        assert trans["databases"]["test102"]["transactions"][0]["id"] == 5
        await self._ask("POST", "controller", "ingest/chunks", {"transaction_id": 5, "chunks": [7310, 7480]})
        for name in (
            "105_db2_file_Object_7310_1",
            "106_db2_file_Object_7480_0",
            "107_db2_file_Object_7480_1",
            "108_db2_file_Source_7480_0",
            "109_db2_filter",
            "110_db2_filter",
        ):
            recorded = by_name[name]
            body = dict(recorded.body or {})
            body |= {"transaction_id": 5, "url": self._here(body["url"], body["table"])}
            await self._ask("POST", recorded.worker, recorded.path, body)
        await self._ask("PUT", "controller", "ingest/trans/5?abort=0", {})
        await self._ask("PUT", "controller", "ingest/database/test102", {})

    async def _ask(self, method: str, service: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        body = body | {"auth_key": self._double.auth_key, "version": 55}
        async with self._http.request(method, f"{self._double.url_of(service)}/{path}", json=body) as answer:
            told: dict[str, Any] = await answer.json()
        assert told["success"], told
        return told
