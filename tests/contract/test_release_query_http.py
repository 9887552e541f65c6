"""The HTTP frontend alone: states, waiting, versions, and that the service keeps nothing whatever happens."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trustme
from doubles.qserv_http import QservHttp, qserv_http

from consumers.release.query import Address, HttpFrontend, Qserv, Status
from stream.errors import Fatal, SkyburstError, Transient
from stream.local import LocalMariadb

DATABASE = "release_query_http"


@pytest.fixture
def service(mariadb: LocalMariadb) -> Iterator[QservHttp]:
    mariadb.create_database(DATABASE)
    with qserv_http(mariadb) as made:
        yield made
    mariadb.drop_database(DATABASE)


@pytest.fixture
def qserv(service: QservHttp) -> Iterator[Qserv]:
    with Qserv(service.url(DATABASE)) as made:
        yield made


def asked(service: QservHttp) -> list[str]:
    """What was asked, the number of the query as N."""
    return [each.replace("310554", "N") for each in service.asked]


def test_a_query_is_handed_in_looked_at_fetched_and_deleted_in_this_order(service: QservHttp, qserv: Qserv) -> None:
    assert qserv.query("SELECT 7 AS n")["n"].to_pylist() == [7]
    assert asked(service) == [
        "GET /meta/version",
        "POST /query-async",
        "GET /query-async/status/N",
        "GET /query-async/result/N",
        "DELETE /query-async/result/N",
    ]
    assert service.kept == []


def test_a_query_is_waited_for_while_it_executes_and_its_chunks_are_told(service: QservHttp) -> None:
    service.gate.clear()
    told: list[Status] = []
    waits: list[float] = []

    def pause(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 8:
            service.gate.set()

    frontend = HttpFrontend(Address.of(service.url(DATABASE)), pause=pause, on_status=told.append)
    with Qserv(frontend) as qserv:
        assert qserv.query("SELECT 1 AS n").num_rows == 1
    assert [status.state for status in told] == ["EXECUTING"] * 8 + ["COMPLETED"]
    assert [status.done for status in told] == [3] * 8 + [7] and told[0].chunks == 7
    assert waits == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


def test_an_interrupt_while_it_executes_cancels_the_query_and_deletes_its_result(service: QservHttp) -> None:
    service.gate.clear()

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    frontend = HttpFrontend(Address.of(service.url(DATABASE)), pause=interrupted)
    with Qserv(frontend) as qserv, pytest.raises(KeyboardInterrupt):
        qserv.query("SELECT 1 AS n")
    assert asked(service)[-2:] == ["DELETE /query-async/N", "DELETE /query-async/result/N"]
    assert service.kept == [] and service.running == []


def test_a_server_is_trusted_by_its_authority_and_by_nothing_else(mariadb: LocalMariadb, tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with qserv_http(mariadb, context) as service:
        url = service.url("").replace("http:", "https:")
        with Qserv(f"{url}?ssl_ca={tmp_path / 'ca.pem'}") as qserv:
            assert qserv.query("SELECT 1 AS n")["n"].to_pylist() == [1]
        with Qserv(url) as qserv, pytest.raises(Fatal) as caught:
            qserv.query("SELECT 1")
        assert caught.value.code == "query_tls" and service.asked.count("POST /query-async") == 1


def test_two_sessions_leave_each_others_results_alone(service: QservHttp, qserv: Qserv) -> None:
    service.gate.clear()
    found: list[int] = []

    def ask() -> None:
        with Qserv(service.url(DATABASE)) as other:
            found.append(other.query("SELECT 5 AS n")["n"][0].as_py())

    thread = threading.Thread(target=ask)
    thread.start()
    assert service.looked.wait(10)
    assert len(service.running) == 1 and service.kept == service.running
    with pytest.raises(SkyburstError):
        qserv.query("SELECT 1 FROM absent")
    assert service.kept == service.running
    service.gate.set()
    thread.join()
    assert found == [5] and service.kept == []


@pytest.mark.parametrize(
    ("state", "words", "code"),
    [
        ("FAILED", "chunk 7480: worker db01 is gone", "query_failed"),
        ("FAILED_LR", "the result is larger than 5 GB", "query_too_large"),
        ("ABORTED", "", "query_aborted"),
        ("DREAMING", "", "query_answer"),
    ],
)
def test_a_query_that_came_to_nothing_says_why_and_leaves_nothing(
    service: QservHttp, qserv: Qserv, state: str, words: str, code: str
) -> None:
    service.becomes = (state, words)
    with pytest.raises(SkyburstError, match=words or state) as caught:
        qserv.query("SELECT 1 AS n")
    assert caught.value.code == code and service.kept == []


def test_a_result_that_cannot_be_read_is_deleted_all_the_same(service: QservHttp, qserv: Qserv) -> None:
    service.lose = {"/query-async/result": 1}
    with pytest.raises(Transient, match="503"):
        qserv.query("SELECT 1 AS n")
    assert service.kept == []


def test_a_result_that_stays_at_the_service_is_told_and_the_answer_is_given(
    service: QservHttp, qserv: Qserv, caplog: pytest.LogCaptureFixture
) -> None:
    service.lose = {"DELETE /query-async/result": 1}
    assert qserv.query("SELECT 7 AS n")["n"].to_pylist() == [7]
    assert len(service.kept) == 1
    assert [record.levelname for record in caplog.records if "query_not_forgotten" in str(record.msg)] == ["WARNING"]


def test_a_lost_look_is_looked_again_and_many_give_the_query_up(service: QservHttp) -> None:
    service.lose = {"/query-async/status": 4}
    frontend = HttpFrontend(Address.of(service.url(DATABASE)), pause=lambda seconds: None)
    with Qserv(frontend) as qserv:
        assert qserv.query("SELECT 1 AS n").num_rows == 1
        service.lose = {"/query-async/status": 5}
        with pytest.raises(Transient):
            qserv.query("SELECT 1 AS n")
    assert service.kept == [] and service.asked.count("POST /query-async") == 2


def test_a_query_whose_submission_was_lost_is_not_sent_again(service: QservHttp, qserv: Qserv) -> None:
    service.lose = {"/query-async": 1}
    with pytest.raises(Transient):
        qserv.query("SELECT 1 AS n")
    assert service.asked.count("POST /query-async") == 1


@pytest.mark.parametrize("version", [40, 54, 55, 61])
def test_an_older_and_a_newer_service_are_spoken_to_in_a_version_of_both(
    service: QservHttp, qserv: Qserv, version: int
) -> None:
    service.version = version
    assert qserv.query("SELECT 1 AS n").num_rows == 1 and service.kept == []


def test_a_service_that_cannot_delete_results_is_refused_before_a_query_is_sent(
    service: QservHttp, qserv: Qserv
) -> None:
    service.version = 39
    with pytest.raises(Fatal, match="39") as caught:
        qserv.query("SELECT 1")
    assert caught.value.code == "query_version" and asked(service) == ["GET /meta/version"]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, "<html>a proxy</html>"),
        (200, "[]"),
        (200, '{"success": 1}'),
        (200, '{"success": 1, "version": "new"}'),
        (404, "nobody here"),
    ],
)
def test_what_is_no_frontend_of_qserv_is_told(status: int, body: str) -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(status, text=body))
    client = httpx.Client(base_url="http://qserv", transport=transport)
    with Qserv(HttpFrontend(Address.of("http://qserv"), client=client)) as qserv, pytest.raises(Fatal) as caught:
        qserv.query("SELECT 1")
    assert caught.value.code == "query_answer"


@pytest.mark.parametrize(
    "result",
    [
        {"schema": [{"column": "a", "type": "INT"}]},
        {"schema": [{"type": "INT"}], "rows": []},
        {"schema": [{"column": "a", "type": "INT", "is_binary": 0}], "rows": [["1", "2"]]},
        {"schema": [{"column": "a", "type": "INT", "is_binary": 0}], "rows": [["1"], ["1.5"]]},
        {"schema": [{"column": "a", "type": "BLOB", "is_binary": 1}], "rows": [["0x"]]},
    ],
)
def test_a_result_that_is_not_as_its_schema_says_is_refused_not_guessed(result: dict[str, object]) -> None:
    answers: dict[str, dict[str, object]] = {
        "/meta/version": {"version": 55},
        "/query-async": {"queryId": 4},
        "/query-async/status/4": {"status": {"status": "COMPLETED"}},
    }
    transport = httpx.MockTransport(
        lambda request: httpx.Response(200, json={"success": 1} | answers.get(request.url.path, result))
    )
    client = httpx.Client(base_url="http://qserv", transport=transport)
    with Qserv(HttpFrontend(Address.of("http://qserv"), client=client)) as qserv, pytest.raises(Fatal) as caught:
        qserv.query("SELECT 1")
    assert caught.value.code == "query_answer"
