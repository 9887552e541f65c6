"""Names of columns fit MariaDB: short enough, plain, unique whatever the case; and the mapping can be told again."""

from __future__ import annotations

import re

import hypothesis.strategies as st
from hypothesis import given

from consumers.release.description.names import database_names

LETTERS = st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"])


@given(st.lists(st.text(LETTERS, min_size=1, max_size=90), max_size=40, unique=True))
def test_names_are_short_plain_and_unique_as_mariadb_compares_them(sources: list[str]) -> None:
    names = database_names(sources)
    assert len({name.lower() for name in names}) == len(sources)
    assert all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", name) for name in names)
    assert names == database_names(sources)


@given(st.lists(st.from_regex(r"[a-z_][a-z0-9_]{0,63}", fullmatch=True), max_size=40, unique=True))
def test_a_name_that_can_stay_stays(sources: list[str]) -> None:
    assert database_names(sources) == sources


def test_long_names_that_differ_only_at_their_end_stay_apart() -> None:
    long = [f"{'modelfit_CModel_' * 5}{end}" for end in ("flag", "flux")]
    names = database_names(long)
    assert [len(name) for name in names] == [64, 64]
    assert names[0] != names[1] and names[0][:55] == names[1][:55]
    assert database_names(list(reversed(long))) == list(reversed(names))


def test_a_name_that_can_stay_does_so_even_behind_one_that_is_mapped_to_it() -> None:
    mapped, kept = database_names(["deblend_psf-flux", "deblend_psf_flux"])
    assert kept == "deblend_psf_flux"
    assert re.fullmatch(r"deblend_psf_flux_[0-9a-f]{8}", mapped)


def test_names_that_differ_by_case_alone_are_told_apart() -> None:
    first, second = database_names(["ra", "RA"])
    assert first == "ra"
    assert re.fullmatch(r"RA_[0-9a-f]{8}", second)
