"""A Level-1 with four partitions of five million rows each, filled inside the server once and kept between runs."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib import resources

from producers.sources.histories import OBJECT_IDS
from producers.sources.synthetic import SOURCE_BITS
from stream.local.process import wait_until
from stream.survey import load_survey
from stream.tables.nights import NIGHTS, block_of, day_of, night_of
from tests.bench.packets import MOST_VISITS, NIGHT
from tests.bench.place import SENT, Place, segments_of
from tests.bench.servers import Servers

DATABASE = "bench_many"
BLOCKS = 4
ROWS = 5_000_000
A_VISIT = 10_000


def ensure(servers: Servers, rows: int = ROWS) -> float:
    """Fill it where that was not done yet; the seconds that it took."""
    wanted = _digest(rows)
    maria = servers.mariadb
    maria.create_database(f"{DATABASE}_note")
    maria.execute("CREATE TABLE IF NOT EXISTS filled (digest CHAR(64) PRIMARY KEY)", database=f"{DATABASE}_note")
    if maria.execute(f"SELECT 1 FROM filled WHERE digest = '{wanted}'", database=f"{DATABASE}_note"):
        return 0.0
    started = time.monotonic()
    print(f"  filling {BLOCKS} partitions with {rows:,} rows each, once; this takes minutes", flush=True)
    maria.drop_database(DATABASE)
    newest = day_of(block_of(NIGHT))
    servers.migrate(DATABASE, night_of(newest - timedelta(days=NIGHTS * (BLOCKS - 1))), NIGHT)
    with servers.connect(DATABASE) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW CREATE TABLE level1")
        keys = [
            line.strip().rstrip(",") for line in cursor.fetchone()[1].splitlines() if line.strip().startswith("KEY")
        ]
        names = [key.split("`")[1] for key in keys]
        cursor.execute("SET unique_checks = 0, foreign_key_checks = 0")
        cursor.execute("SET GLOBAL innodb_fill_factor = 70")
        # Without its indexes first, then each index in one sorted pass, at the fill that grown trees have.
        cursor.execute(f"ALTER TABLE level1 {', '.join(f'DROP KEY `{name}`' for name in names)}")
        for block in range(BLOCKS):
            cursor.execute(_fill(block, rows))
            print(f"    partition {block + 1} of {BLOCKS}: {time.monotonic() - started:.0f} s", flush=True)
        cursor.execute(f"ALTER TABLE level1 {', '.join(f'ADD {key}' for key in keys)}")
        cursor.execute("SET GLOBAL innodb_fill_factor = 100")
        cursor.execute("INSERT INTO surveys VALUES (1, 'lsst', %s)", (load_survey("lsst").digest,))
        cursor.execute("ANALYZE TABLE level1")
    maria.execute(f"INSERT INTO filled VALUES ('{wanted}')", database=f"{DATABASE}_note")
    return time.monotonic() - started


@contextmanager
def many_place(servers: Servers, topic: str) -> Iterator[Place]:
    """The big Level-1 with an empty AlertDB; what was drained into it is taken out again at the end, and before."""
    _forget(servers)
    _warm(servers)
    with segments_of(servers, topic, DATABASE) as place:
        try:
            yield place
        finally:
            _forget(servers)


def _forget(servers: Servers) -> None:
    """Take out what the drains brought, and wait until the server has purged it."""
    with servers.connect(DATABASE) as connection, connection.cursor() as cursor:
        while cursor.execute(f"DELETE FROM level1 WHERE {SENT} LIMIT 5000"):
            pass
        cursor.execute("SHOW TABLES")
        for (name,) in cursor.fetchall():
            if name not in ("level1", "surveys", "schema_version"):
                cursor.execute(f"TRUNCATE TABLE `{name}`")

    def purged() -> bool:
        found = servers.mariadb.execute("SHOW GLOBAL STATUS LIKE 'Innodb_history_list_length'")
        return int(found[0][1]) < 50

    wait_until(purged, 60.0, every_s=0.2)


def _warm(servers: Servers) -> None:
    """Read the newest partition's indexes, as a server that ran through the night before would have."""
    part = f"p{block_of(NIGHT)}"
    for key in ("level1_object", "level1_healpix"):
        servers.mariadb.execute(
            f"SELECT COUNT(*) FROM level1 PARTITION ({part}) FORCE INDEX ({key}) WHERE survey = 1", database=DATABASE
        )


def _fill(block: int, rows: int) -> str:
    """INSERT … SELECT of one partition: ids rise with time, objects and places on the sky are anywhere."""
    first = day_of(block_of(NIGHT)) - timedelta(days=NIGHTS * (BLOCKS - 1 - block))
    nights = NIGHTS if block < BLOCKS - 1 else max(1, (day_of(NIGHT) - first).days)
    a_night = -(-rows // nights)
    day = f"DATE_ADD('{first.isoformat()}', INTERVAL (seq - 1) DIV {a_night} DAY)"
    night = f"CAST(DATE_FORMAT({day}, '%Y%m%d') AS SIGNED)"
    visit = f"({night} * 100000 + {MOST_VISITS} + ((seq - 1) MOD {a_night}) DIV {A_VISIT})"
    mjd = f"(TO_DAYS({day}) - 678941 + 0.05 + 39.0 / 86400 * (((seq - 1) MOD {a_night}) DIV {A_VISIT}))"
    # A visit's field has 10 of the sky's 41,253 square degrees.
    healpix = f"(CRC32({visit}) DIV 1000003 * 800000000000000 + FLOOR(RAND() * 8e14))"
    values = {
        "survey": "1",
        "night": night,
        "diaSourceId": f"({visit} << {SOURCE_BITS}) + (seq - 1) MOD {A_VISIT}",
        "diaObjectId": f"{OBJECT_IDS[0]} + FLOOR(RAND() * {OBJECT_IDS[1] - OBJECT_IDS[0]})",
        "visit": visit,
        "detector": "(seq DIV 50) MOD 189",
        "band": "ELT(1 + CRC32(seq DIV 10000) MOD 6, 'u', 'g', 'r', 'i', 'z', 'y')",
        "midpointMjdTai": mjd,
        **dict.fromkeys(("ra", "raErr", "decErr"), "RAND() * 360"),
        "dec": "RAND() * 90 - 80",
        **dict.fromkeys(("psfFlux", "psfFluxErr", "apFlux", "apFluxErr", "scienceFlux"), "RAND() * 1e4"),
        **dict.fromkeys(("scienceFluxErr", "snr", "reliability", "extendedness"), "RAND() * 100"),
        "timeProcessedMjdTai": mjd,
        "flags": "0",
        "chunk": "FLOOR(RAND() * 140000)",
        "subChunk": "FLOOR(RAND() * 9)",
        "healpix": healpix,
        "segment": "9007199254740993 + seq DIV 20000",
        "blockOffset": "(seq MOD 20000) * 30000",
        "slot": "seq MOD 16",
        "stream": "1",
        "kafkaPartition": "seq MOD 8",
        "kafkaOffset": "seq DIV 8",
        "commitId": "4611686018427387904 + seq DIV 500",
        "digest": "UNHEX(MD5(seq))",
    }
    names = ", ".join(f"`{name}`" for name in values)
    return f"INSERT INTO level1 ({names}) SELECT {', '.join(values.values())} FROM seq_1_to_{rows}"


def _digest(rows: int) -> str:
    model = resources.files("schemas").joinpath("level1.yaml").read_bytes()
    fills = "".join(_fill(block, rows) for block in range(BLOCKS))
    return hashlib.sha256(model + fills.encode()).hexdigest()
