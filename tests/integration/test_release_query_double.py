"""What the double's workers hold can be asked: the rows of all chunks of all workers, once each."""

from __future__ import annotations

import pytest

from consumers.release.double.asking import gather
from consumers.release.query import Qserv
from stream.errors import Wrong
from stream.local import LocalMariadb


def test_a_published_database_is_asked_as_one_and_overlaps_do_not_count(mariadb: LocalMariadb) -> None:
    workers = [f"q0123abcd_worker{number}_gathered" for number in (1, 2)]
    columns = "(objectId BIGINT NOT NULL, ra DOUBLE, chunkId INT, KEY (objectId)) ENGINE=MyISAM"
    for number, worker in enumerate(workers):
        mariadb.create_database(worker)
        for table in ("Object", f"Object_{number}", "Object_1234567890", f"ObjectFullOverlap_{number}", "Filter"):
            mariadb.execute(f"CREATE TABLE `{table}` {columns}", database=worker)
        for table in (f"Object_{number}", f"ObjectFullOverlap_{number}", "Filter"):
            mariadb.execute(f"INSERT INTO `{table}` VALUES ({number}, NULL, {number}), (7, 1.5, 8)", database=worker)
    for _ in range(2):
        with Qserv(gather(mariadb, "gathered"), plain=True) as qserv:
            rows = qserv.query("SELECT objectId, ra, chunkId FROM Object ORDER BY objectId, chunkId")
            assert rows["objectId"].to_pylist() == [0, 1, 7, 7] and rows["ra"].null_count == 2
            assert qserv.query("SELECT COUNT(*) AS n FROM Filter")["n"].to_pylist() == [2]
            assert qserv.query("SHOW TABLES").num_rows == 2
    with pytest.raises(Wrong, match="no database absent"):
        gather(mariadb, "absent")
    for name in (*workers, "gathered"):
        mariadb.drop_database(name)
