"""What several files of one table have in common, which must be all that decides how their rows look."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from consumers.release.reading.catalogue import ASCII, LENGTH, UNIT, Catalogue, LeftOut
from stream.errors import Wrong


@dataclass(frozen=True, slots=True)
class Common:
    """A column that all files have.

    Parameters
    ----------
    field
        As the first file has it.
    type
        The type that holds the values of all.
    nullable
        Whether one of them says that a value can be missing.
    length
        Most bytes of its text in UTF-8.
    fixed
        Whether its text has fixed width in the files.
    """

    field: pa.Field
    type: pa.DataType
    nullable: bool
    length: int = 0
    fixed: bool = False

    @property
    def name(self) -> str:
        """Its name in the catalogues."""
        return str(self.field.name)


@dataclass(frozen=True, slots=True)
class Agreed:
    """What the files say of their table together; `path` and `form` are the first one's."""

    path: Path
    form: str
    columns: tuple[Common, ...]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]
    description: str
    ascii: bool


def agreed(catalogues: Sequence[Catalogue], drop: Sequence[str] = ()) -> Agreed:
    """What the files have in common; the text of those that do not say how long it is, is read for it.

    Parameters
    ----------
    catalogues
        The files of one table.
    drop
        Patterns of columns that are not asked for.

    Raises
    ------
    Wrong
        ``schemas_differ``: a file has other columns, types or units than the first. ``no_column``: no file has a
        column like a pattern.
    """
    if not catalogues:
        raise Wrong("no_file", "no catalogue is given", "name the files of the table")
    first, *others = catalogues
    _check_patterns(catalogues, drop)
    dropped = [name for name in first.schema.names if _like(name, drop)]
    columns = [_common(each) for each in first.schema if each.name not in dropped]
    for other in others:
        columns = [_with(column, other, first) for column in columns]
        more = [name for name in other.schema.names if first.schema.get_field_index(name) < 0 and not _like(name, drop)]
        if more:
            raise _differ(other, f"has column {more[0]}, which {first.path} has not")
    columns, plain = _with_lengths(columns, catalogues)
    aliases = [note for note in first.notes if note.startswith("aliases: ")]
    told = [note for each in catalogues for note in each.notes if note not in aliases]
    if not plain:
        told.append(
            "some text is beyond ASCII: Qserv keeps its bytes, in tables of latin1 unless they are told otherwise"
        )
    return Agreed(
        path=first.path,
        form=first.form,
        columns=tuple(columns),
        left_out=(*first.left_out, *(LeftOut(name, "dropped, as told") for name in dropped)),
        notes=tuple(dict.fromkeys(told)),
        description=f"A{aliases[0][1:]}." if aliases else "",
        ascii=plain,
    )


def _check_patterns(catalogues: Sequence[Catalogue], drop: Sequence[str]) -> None:
    names = {name for each in catalogues for name in each.schema.names}
    names |= {out.column for each in catalogues for out in each.left_out}
    for pattern in drop:
        if not fnmatch.filter(names, pattern):
            text = f"{catalogues[0].path} has no column like {pattern}"
            raise Wrong("no_column", text, "look at its columns by describe without --drop")


def _like(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _common(field: pa.Field) -> Common:
    length = int((field.metadata or {}).get(LENGTH, b"0"))
    return Common(field, field.type, field.nullable, length)


def _with(column: Common, other: Catalogue, first: Catalogue) -> Common:
    """The column with what another file says of it."""
    place = other.schema.get_field_index(column.name)
    if place < 0:
        out = [each.why for each in other.left_out if each.column == column.name]
        raise _differ(other, "; ".join([f"has no column {column.name}, which {first.path} has", *out]))
    field = other.schema.field(place)
    kind: pa.DataType | None = column.type
    if field.type != kind:
        kind = _wider(column.type, field.type, guessed=first.form == other.form == "CSV")
        if kind is None:
            raise _differ(other, f"has {column.name} as {field.type}, {first.path} as {column.type}")
    ours, theirs = ((each.metadata or {}).get(UNIT, b"").decode() for each in (column.field, field))
    if ours != theirs:
        raise _differ(other, f"has {column.name} in {theirs or 'no unit'}, {first.path} in {ours or 'no unit'}")
    longest = max(column.length, _common(field).length)
    return replace(column, type=kind, nullable=column.nullable or field.nullable, length=longest)


def _differ(other: Catalogue, how: str) -> Wrong:
    advice = "describe files of one table alone, or drop the column with --drop"
    return Wrong("schemas_differ", f"{other.path} {how}", advice)


def _wider(one: pa.DataType, other: pa.DataType, *, guessed: bool) -> pa.DataType | None:
    """The type for what is one type in one file and another in another; None where only a mistake explains it."""
    for empty, full in ((one, other), (other, one)):
        if pa.types.is_null(empty):
            return full
    if not guessed:
        return None
    numbers = [pa.int64(), pa.uint64(), pa.float64()]
    if one in numbers and other in numbers:
        return numbers[max(numbers.index(one), numbers.index(other))]
    return pa.string()


def _with_lengths(columns: Sequence[Common], catalogues: Sequence[Catalogue]) -> tuple[list[Common], bool]:
    """The columns with the length of their text, and whether all text is plain ASCII, as that of FITS is."""
    told = [each.metadata or {} for catalogue in catalogues for each in catalogue.schema]
    plain = all(each.get(ASCII) != b"no" for each in told)
    text = [each.name for each in columns if _is_text(each.type) and not each.length]
    longest = dict.fromkeys(text, 0)
    for catalogue in catalogues if text else ():
        for batch in catalogue.batches(text):
            for name, values in zip(text, batch.columns):
                values = pc.cast(values, pa.string())
                longest[name] = max(longest[name], pc.max(pc.binary_length(values)).as_py() or 0)
                plain = plain and pc.all(pc.string_is_ascii(values)).as_py() is not False
    made = []
    for each in columns:
        fixed = each.length > 0 and catalogues[0].form != "CSV"
        made.append(replace(each, length=max(each.length, longest.get(each.name, 0)), fixed=fixed))
    return made, plain


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
