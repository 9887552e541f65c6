"""What a server must take of one statement is asked before anything is ingested."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from stream.errors import Fatal
from stream.level1.inserts import STATEMENT_BYTES
from stream.level1.write import LEAST_PACKET, statement_limit


class Server:
    """A connection to a server with this ``max_allowed_packet``."""

    dialect = SimpleNamespace(name="mysql")

    def __init__(self, most: int) -> None:
        self.most = most

    async def exec_driver_sql(self, _sql: str) -> Any:
        return SimpleNamespace(scalar_one=lambda: self.most)


async def test_a_server_that_takes_less_than_a_commit_may_need_is_refused_with_what_to_do() -> None:
    with pytest.raises(Fatal, match=f"{LEAST_PACKET - 1} bytes.*16M") as refused:
        await statement_limit(cast(AsyncConnection, Server(LEAST_PACKET - 1)))
    assert refused.value.code == "level1_packet"


async def test_what_a_stock_server_takes_is_enough() -> None:
    for most in (LEAST_PACKET, 16 << 20):
        assert await statement_limit(cast(AsyncConnection, Server(most))) <= min(STATEMENT_BYTES, most)
