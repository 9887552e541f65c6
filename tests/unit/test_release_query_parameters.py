"""No text of a caller's reaches the SQL of a standard query, and what cannot be is told with what can."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.release.query import TEMPLATES, Address, template
from consumers.release.query.columns import array, arrow_type
from consumers.release.table import Column, Database, Follows, Role, Table
from stream.errors import Fatal, Wrong


def column(name: str, kind: str = "double") -> Column:
    return Column(name, name, kind, kind.upper())


OBJECT = Table(
    "Object", Role.DIRECTOR, (column("id", "long"), column("ra"), column("dec"), column("flux"), column("odd`name"),
                              column("extendedness")),
    key="id", ra="ra", dec="dec",
)  # fmt: skip
SOURCE = Table(
    "Source", Role.CHILD, (column("sourceId", "long"), column("id", "long"), column("midpointMjdTai")),
    key="sourceId", follows=(Follows("Object", "id"),),
)  # fmt: skip
NAMED = Table(
    "Named", Role.CHILD, (column("name", "string"), column("midpointMjdTai")), follows=(Follows("Object", "name"),)
)
FILTER = Table("Filter", Role.REGULAR, (column("id", "long"),))
RELEASE = Database("dr1", (OBJECT, SOURCE, NAMED, FILTER))
CONE = {"table": "Object", "ra": 1, "dec": 2, "radius": 0.5}
WORDS = re.compile(r"`(?:[^`]|``)*`|[A-Za-z_]+|[-0-9.e+]+|'[^'\\]*'|[(),*/<>=\s-]+")


@given(value=st.text(max_size=30), name=st.sampled_from(["ra", "dec", "radius", "limit", "columns", "table"]))
def test_whatever_a_value_is_the_query_has_names_and_numbers_only(value: str, name: str) -> None:
    for functions in (True, False):
        try:
            sql = template("cone").sql(RELEASE, CONE | {name: value}, functions=functions)
        except Wrong as error:
            assert error.code in ("query_parameter", "unknown_table")
        else:
            allowed = {"SELECT", "FROM", "WHERE", "AND", "OR", "BETWEEN", "LIMIT", "DEGREES", "ASIN", "LEAST", "SQRT",
                       "POW", "SIN", "COS", "RADIANS", "qserv_areaspec_circle"}  # fmt: skip
            words = WORDS.findall(sql)
            assert "".join(words) == sql
            assert {word for word in words if word.isidentifier()} <= allowed


@given(value=st.text(max_size=30))
def test_a_textual_key_is_one_literal_or_refused(value: str) -> None:
    try:
        sql = template("light-curve").sql(RELEASE, {"table": "Named", "id": value})
    except Wrong as error:
        assert error.code == "query_parameter"
    else:
        assert re.fullmatch(
            r"SELECT \* FROM `Named` WHERE `name` = '[^'\\\x00-\x1f]+' ORDER BY `midpointMjdTai`", sql, re.DOTALL
        )


@pytest.mark.parametrize(
    ("name", "asked", "said"),
    [
        ("cone", {"ra": "1 OR 1=1"}, "ra of table Object cannot be '1 OR 1=1'; it is a number"),
        ("cone", {"ra": "nan"}, "between 0 and 360"),
        ("cone", {"dec": -90.5}, "between -90 and 90"),
        ("cone", {"radius": "inf"}, "between 0 and 90"),
        ("cone", {"columns": "ra, de"}, "did you mean dec?"),
        ("cone", {"columns": "ra; DROP TABLE Object"}, "columns of table Object"),
        ("cone", {"table": "Object; DROP TABLE Object"}, "no table Object; DROP"),
        ("cone", {"table": "Filter"}, "has no position"),
        ("cone", {"limit": "-1"}, "whole number"),
        ("cone", {"limit": "0"}, "whole number"),
        ("cone", {"raduis": 1}, "did you mean radius?"),
        ("light-curve", {"table": "Source"}, "light-curve needs id"),
        ("light-curve", {"table": "Source", "id": "1 OR 1"}, "whole number"),
        ("light-curve", {"table": "Source", "id": ""}, "whole number"),
        ("light-curve", {"table": "Filter", "id": 1}, "time: table Filter has no midpointMjdTai and no exp"),
        ("light-curve", {"table": "Object", "id": 1, "time": "ra"}, "follows no director"),
        ("light-curve", {"table": "Source", "id": 1, "time": ""}, "cannot be empty"),
        ("chunks", {"table": "Filter"}, "not cut into chunks"),
        ("chunks", {}, "chunks needs table"),
        (
            "galaxies",
            {"table": "Object"},
            "flux: table Object has no modelfit_CModel_instFlux and no modelfit_CModel_flux; give it",
        ),
    ],
)
def test_what_cannot_be_asked_is_told(name: str, asked: dict[str, object], said: str) -> None:
    given = CONE | asked if name == "cone" else asked
    with pytest.raises(Wrong, match=re.escape(said)):
        template(name).sql(RELEASE, given)


def test_a_key_may_have_all_digits_of_an_unsigned_bigint() -> None:
    asked = {"table": "Source", "id": 18446744073709551615}
    assert "= 18446744073709551615 ORDER" in template("light-curve").sql(RELEASE, asked)


def test_queries_are_as_simple_as_qserv_needs_them() -> None:
    assert template("cone").sql(RELEASE, CONE) == "SELECT * FROM `Object` WHERE qserv_areaspec_circle(1.0, 2.0, 0.5)"
    assert template("cone").sql(RELEASE, CONE | {"columns": "odd`name", "limit": "3"}) == (
        "SELECT `odd``name` FROM `Object` WHERE qserv_areaspec_circle(1.0, 2.0, 0.5) LIMIT 3"
    )
    small = template("cone").sql(RELEASE, CONE | {"ra": "1e-7", "dec": -1e-05, "radius": "2e-3"})
    assert small.endswith("qserv_areaspec_circle(0.0000001, -0.00001, 0.002)")
    assert template("light-curve").sql(RELEASE, {"table": "Source", "id": -7, "columns": "sourceId"}) == (
        "SELECT `midpointMjdTai`, `sourceId` FROM `Source` WHERE `id` = -7 ORDER BY `midpointMjdTai`"
    )
    unflagged = dict.fromkeys(("extendedness_flag", "shear_flag", "primary", "flux_flag"), "")
    assert template("galaxies").sql(RELEASE, {"table": "Object", "flux": "flux", "flux_err": "dec"} | unflagged) == (
        "SELECT `id`, `ra`, `dec`, `flux`, `dec` FROM `Object` WHERE `extendedness` >= 0.5 AND `flux` > 0"
        " AND `flux` / `dec` > 10.0"
    )


@pytest.mark.parametrize("name", ["extendedness_flag", "shear_flag", "primary", "flux_flag"])
def test_no_condition_is_left_out_of_a_galaxy_selection_unless_it_is_said(name: str) -> None:
    asked = {"table": "Object", "flux": "flux", "flux_err": "dec"}
    asked |= {each: "" for each in ("extendedness_flag", "shear_flag", "primary", "flux_flag") if each != name}
    with pytest.raises(Wrong, match=f"leave its condition out: --set {name}="):
        template("galaxies").sql(RELEASE, asked)


def test_a_template_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(Wrong, match="galaxies, cone, light-curve, chunks") as caught:
        template("stars")
    assert caught.value.code == "unknown_template"
    assert all(each.description and all(p.description for p in each.parameters) for each in TEMPLATES.values())


@pytest.mark.parametrize(
    "url",
    ["", "qserv:4040", "ftp://qserv", "mysql://", "mysql://u:geheim@qserv:port/db", "https://u:geheim@h/db?verify=no",
     "sqlite:///x", "http://u:geheim@[::1"],
)  # fmt: skip
def test_what_is_no_frontends_url_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(Wrong) as caught:
        Address.of(url)
    assert caught.value.code == "query_url" and "geheim" not in str(caught.value)


def test_an_address_is_what_its_url_says_and_shows_no_password() -> None:
    found = Address.of("mariadb+pymysql://a%40b:p%2Fw@qserv/db%20x?ssl_ca=/ca.pem")
    assert (found.scheme, found.host, found.port) == ("mysql", "qserv", 4040)
    assert (found.user, found.password, found.database) == ("a@b", "p/w", "db x")
    assert found.options == {"ssl_ca": "/ca.pem"} and "p/w" not in repr(found) + found.shown
    assert Address.of("https://qserv").port == 4048


@pytest.mark.parametrize(
    ("mysql", "arrow"),
    [("BIGINT(20)", "int64"), ("bigint(20) unsigned", "uint64"), ("INT", "int32"), ("FLOAT", "float"),
     ("DOUBLE(10,2)", "double"), ("DECIMAL(65,0)", "decimal256(65, 0)"), ("DECIMAL", "double"), ("CHAR(34)", "string"),
     ("DATETIME(6)", "timestamp[us]"), ("LONGTEXT", "string"), ("BIT(1)", "uint64"), ("", "string"), ("?", "string")],
)  # fmt: skip
def test_types_are_read_as_create_table_has_them(mysql: str, arrow: str) -> None:
    assert str(arrow_type(mysql)) == arrow


def test_a_value_that_is_not_of_its_type_is_an_error_and_no_null() -> None:
    with pytest.raises(Fatal, match="column n of the answer is no int8"):
        array("n", ["1", "300"], arrow_type("TINYINT"))
