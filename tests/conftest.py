"""What all suites share: one real MariaDB and Kafka a run, databases and topics of each test's own, seeds, timings."""

from __future__ import annotations

import os
import random
import secrets
import shutil
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import trustme
from doubles.demo import Demo, run_demo
from doubles.early import Early, Work
from doubles.nursery import Nursery
from doubles.real_packets import REAL_PACKETS

from stream.local import BrokerTls, LocalKafka, LocalMariadb
from stream.local.process import Process

FOLDERS = "skyburst-tests-"
SERVERS = {"mariadb", "kafka", "crash_kafka"}
"""Fixtures that give the run's servers."""
ORDER = {"unit": 0, "property": 0, "crash": 2}
"""Suites that need no server come first, and run while the servers start; what is killed and frozen comes last, when
least runs beside it."""
SEED = int(os.environ.get("SKYBURST_SEED") or secrets.randbits(32))
SPENT: dict[str, float] = defaultdict(float)
COUNTED: dict[str, int] = defaultdict(int)
RELEASE_TESTS = "test_release_"
OF_RELEASE: list[float] = []
STARTED: dict[str, float] = {}

hypothesis.settings.register_profile("usual", deadline=None, print_blob=True)
hypothesis.settings.register_profile("long", deadline=None, print_blob=True, max_examples=2000)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run what is marked long, too; hypothesis tries 20 times more")
    text = "only tests that want the run's servers, or only the others"
    parser.addoption("--servers", choices=("wanted", "unwanted"), help=text)


def pytest_configure(config: pytest.Config) -> None:
    hypothesis.settings.load_profile("long" if config.getoption("--long") else "usual")


def pytest_report_header() -> str:
    return f"seed: {SEED} (SKYBURST_SEED={SEED} draws the same again)"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if half := config.getoption("--servers"):
        mine, others = [], []
        for item in items:
            (mine if _wants_servers(item) == (half == "wanted") else others).append(item)
        items[:] = mine
        config.hook.pytest_deselected(items=others)
    items.sort(key=lambda item: ORDER.get(item.path.parent.name, 1))
    if not config.getoption("--long"):
        skip = pytest.mark.skip(reason="long: run by make test-long")
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(skip)


def _wants_servers(item: pytest.Item) -> bool:
    """Whether a test names one of the run's servers: as a fixture, or as the value of a parameter."""
    names = getattr(item, "fixturenames", ())
    parameters = getattr(item, "callspec", None)
    values = () if parameters is None else [each for each in parameters.params.values() if isinstance(each, str)]
    return not SERVERS.isdisjoint([*names, *values])


def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest) -> None:
    """A server starts once a run, though two processes run it."""
    if fixturedef.argname in SERVERS and request.config.getoption("--servers") == "unwanted":
        pytest.fail(
            f"this test wants {fixturedef.argname}, and names it neither as a fixture nor as a parameter's value"
        )


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    path = Path(report.nodeid.split("::")[0])
    SPENT[path.parent.name] += report.duration
    COUNTED[path.parent.name] += report.when == "call"
    if path.name.startswith(RELEASE_TESTS):
        OF_RELEASE.append(report.duration)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.section("seconds by suite")
    for suite, seconds in sorted(SPENT.items()):
        terminalreporter.write_line(f"{suite:12} {seconds:8.1f} s  {COUNTED[suite]:5} tests")
    terminalreporter.write_line(f"(of all, tests of release catalogues took {sum(OF_RELEASE):.1f} s)")
    for name, seconds in STARTED.items():
        terminalreporter.write_line(f"({name} took {seconds:.1f} s to start)")


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """A private folder for this run's servers; servers of runs that were killed are ended and removed first."""
    for left in Path(tempfile.gettempdir()).glob(f"{FOLDERS}*"):
        if _is_left_behind(left):
            _remove(left)
    folder = Path(tempfile.mkdtemp(prefix=FOLDERS))
    Process.of(os.getpid()).note(folder / "run.json")
    yield folder
    _remove(folder)


def _is_left_behind(folder: Path) -> bool:
    run = folder / "run.json"
    try:
        return run.stat().st_uid == os.geteuid() and Process.find(run) is None
    except FileNotFoundError:  # just being made, or just being removed by another run
        return False


def _remove(folder: Path) -> None:
    for pid_file in folder.rglob("*.pid.json"):
        process = Process.find(pid_file)
        if process:
            process.kill()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def mariadb(server_folder: Path) -> Iterator[LocalMariadb]:
    """The run's MariaDB server, started when first asked for; `url(database)` names a database of it.

    Its files are not synced: what it wrote outlives its process, and no test takes the machine's power away.
    """
    begun = time.monotonic()
    server = LocalMariadb(server_folder / "mariadb", options={"debug-no-sync": "ON"}).start()
    STARTED["mariadb"] = time.monotonic() - begun
    yield server
    server.kill()


@dataclass(frozen=True, slots=True)
class Trust:
    """Files (PEM) and login with which a client speaks to the run's Kafka on TLS, MTLS and SCRAM."""

    authority: Path
    certificate: Path
    key: Path
    user: str
    password: str
    broker: BrokerTls


@pytest.fixture(scope="session")
def kafka_trust(server_folder: Path) -> Trust:
    """An authority of this run, a certificate of a client, and a SCRAM user."""
    authority = trustme.CA()
    client = authority.issue_cert("skyburst-test-client")
    folder = server_folder / "trust"
    folder.mkdir()
    trusted, certificate, key = (folder / name for name in ("authority.pem", "client.pem", "client.key"))
    authority.cert_pem.write_to_path(str(trusted))
    client.cert_chain_pems[0].write_to_path(str(certificate))
    client.private_key_pem.write_to_path(str(key))
    user, password = "alice", secrets.token_hex(12)
    broker = BrokerTls(
        authority.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.bytes(),
        authority.cert_pem.bytes(),
        {user: password},
    )
    return Trust(trusted, certificate, key, user, password, broker)


@pytest.fixture(scope="session", autouse=True)
def early(request: pytest.FixtureRequest, server_folder: Path, kafka_trust: Trust) -> Iterator[Early]:
    """Begins what tests of this run will look at: brokers, a demo, and what their modules name in `EARLY`."""
    tests = request.session.items
    asked = {name for test in tests for name in getattr(test, "fixturenames", ())}
    works: dict[str, Work] = {
        "kafka": lambda folder: LocalKafka(folder, tls=kafka_trust.broker).start(),
        "crash_kafka": lambda folder: LocalKafka(folder).start(),
        "demo": run_demo,
    }
    for test in tests:
        works |= getattr(getattr(test, "module", None), "EARLY", {})
    made = Early(works, lambda name: server_folder / name)
    if "nursery" in asked:
        request.getfixturevalue("nursery")
    for name in works:
        if name in asked:
            made.begin(name)
    yield made
    made.close()
    STARTED.update(made.seconds)


@pytest.fixture(scope="session")
def kafka(early: Early) -> Iterator[LocalKafka]:
    """The run's broker; `address` has its listeners TLS, MTLS and SCRAM."""
    broker: LocalKafka = early.outcome("kafka")
    yield broker
    broker.kill()


@pytest.fixture(scope="session")
def demo(early: Early) -> Demo:
    """A demo that was run; nobody changes its files."""
    made: Demo = early.outcome("demo")
    return made


@pytest.fixture(scope="session")
def nursery(server_folder: Path) -> Iterator[Nursery]:
    """Forks daemons and other verbs of the command."""
    made = Nursery(server_folder / "nursery.log")
    yield made
    made.close()


@pytest.fixture
def level1_url(mariadb: LocalMariadb) -> Iterator[str]:
    """SQLAlchemy URL (aiomysql) of an empty database of this test's own; a server that a test killed comes back."""
    mariadb.start()
    name = f"test_{uuid.uuid4().hex[:16]}"
    mariadb.create_database(name)
    yield mariadb.url(name)
    mariadb.start()
    mariadb.drop_database(name)


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> str:
    """A topic name that no other test has; `kafka.create_topic` makes it."""
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)[:80]
    return f"{name}-{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def real_packets() -> Path | None:
    """Folder of real packets where it is there."""
    return REAL_PACKETS if REAL_PACKETS.is_dir() else None


@pytest.fixture(scope="session")
def shared_data(real_packets: Path | None) -> Path:
    """Folder of real packets; without it, the test is skipped."""
    if real_packets is None:
        reason = f"NO REAL PACKETS: {REAL_PACKETS} is not there; SKYBURST_TEST_DATA names the folder"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return real_packets


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random numbers from the run's printed seed and the test's name."""
    return np.random.default_rng(random.Random(f"{SEED}{request.node.nodeid}").getrandbits(64))
