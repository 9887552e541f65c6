"""``skyburst alert ID``: one packet back, as it came."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from stream.cli.exits import line
from stream.cli.options import ID, NIGHT, shared_options
from stream.cli.output import plain, printing, show_json, writing
from stream.cli.survey_name import survey_name
from stream.config import Settings
from stream.errors import Fatal, SkyburstError, Transient, Wrong

if TYPE_CHECKING:
    from stream.level1.archive import AlertArchive
    from stream.level1.packet import Place

Format = Literal["json", "avro", "wire", "cutouts"]
_ENDINGS = {"json": "json", "avro": "avro", "wire": "bin"}


@click.command()
@click.argument("ids", metavar="ID...", type=ID, nargs=-1, required=True)
@click.option(
    "--format",
    "form",
    type=click.Choice(["json", "avro", "wire", "cutouts"]),
    default="json",
    show_default=True,
    help="json: decoded; avro: an Avro file of one record, not of quarantine; wire: the Kafka message, byte for byte; "
    "cutouts: its images as files.",
)
@click.option(
    "--all", "everything", is_flag=True, help="Every packet of the id: nights, repeats, conflicts, quarantine."
)
@click.option("--night", type=NIGHT, metavar="YYYYMMDD", help="The packet of this night.")
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    help="File, or folder for more than one packet and for cutouts; stdout or the folder here if not given.",
)
@shared_options
def alert(
    ids: tuple[int, ...], form: Format, everything: bool, night: int | None, output: Path | None, settings: Settings
) -> int:
    """The packet of each diaSourceId ID, as it came.

    Where more packets than one have the id, the newest night's is given and the others are named on stderr.
    Ends with 1 where an id is not there, where a packet cannot be had (retired, damaged, without images), or where one
    in quarantine was to be given as Avro or as images: it need not be Avro, but --format wire and json give its bytes.
    The others are given all the same.
    """
    from stream.level1.archive import AlertArchive
    from stream.tables.nights import day_of

    if night is not None:
        day_of(night)
    missing = 0
    documents: list[dict[str, object]] = []
    many = everything or len(ids) > 1
    ended = False
    try:
        with AlertArchive(settings.need("level1"), settings.need("alertdb"), survey_name(settings)) as archive:
            for source in ids:
                places = archive.places(source, night)
                if not places:
                    missing += 1
                    of = f" of night {night}" if night else ""
                    click.echo(f"skyburst: there is no alert {source}{of}; is the id its diaSourceId?", err=True)
                    continue
                chosen = places if everything else places[:1]
                _name_others(source, places[len(chosen) :])
                missing += _give(archive, chosen, form, output, many, documents)
        ended = True
    finally:
        # What was read before something went away is given all the same.
        if documents or (ended and many and form == "json" and output is None):
            show_json(documents if many else documents[0])
    return 1 if missing else 0


def _name_others(source: int, others: list[Place]) -> None:
    if others:
        named = ", ".join(f"{place.standing} {place.night}" for place in others[:5])
        more = f" and {len(others) - 5} more" if len(others) > 5 else ""
        text = f"skyburst: {len(others) + 1} packets have the id {source} (also: {named}{more})"
        click.echo(f"{text}; --all gives all, --night chooses", err=True)


def _give(
    archive: AlertArchive,
    places: list[Place],
    form: Format,
    output: Path | None,
    many: bool,
    documents: list[dict[str, object]],
) -> int:
    """Give the packets, or put what stdout is to have into `documents`; how many could not be had in this form."""
    if many and output is None and form not in ("cutouts", "json"):
        raise Wrong("output", "more than one packet does not fit on stdout", "give a folder with --output")
    unread = 0
    for place, name in _named(places, many):
        try:
            if form == "json" and output is None:
                documents.append(_as_json(archive, place))
            else:
                _give_one(archive, place, form, output, name, many)
        except SkyburstError as error:
            # A file that the disk does not give is one file; a database or store that is away is all of them.
            if isinstance(error, Transient | Fatal | Wrong) and error.code != "disk_failed":
                raise
            unread += 1
            click.echo(f"{line(error)} (alert {place.source} of {place.night}, {place.standing})", err=True)
    return unread


def _give_one(archive: AlertArchive, place: Place, form: Format, output: Path | None, name: str, many: bool) -> None:
    if form == "cutouts":
        _give_images(archive, place, (output or Path()) / name)
        return
    _write(_bytes(archive, place, form), output / f"{name}.{_ENDINGS[form]}" if many and output else output)


def _named(places: list[Place], many: bool) -> Iterator[tuple[Place, str]]:
    for number, place in enumerate(places):
        rest = f"-{place.night}-{place.standing}" + (f"-{number}" if number else "") if many else ""
        yield place, f"{place.source}{rest}"


def _as_json(archive: AlertArchive, place: Place) -> dict[str, object]:
    packet = archive.fetch(place)
    where: dict[str, object] = {
        "diaSourceId": place.source,
        "night": place.night,
        "standing": place.standing,
        "record": {"stream": place.record.stream, "partition": place.record.partition, "offset": place.record.offset},
        "schemaId": packet.schema_id,
    }
    if packet.kind == "quarantine":
        return where | {"code": place.code, "reason": place.reason, "message": base64.b64encode(packet.datum).decode()}
    return where | {"packet": packet.decode()}


def _bytes(archive: AlertArchive, place: Place, form: Format) -> bytes:
    if form == "wire":
        return archive.fetch_message(place).value
    if form == "avro":
        return archive.fetch(place).avro_file()
    return json.dumps(plain(_as_json(archive, place)), ensure_ascii=False, indent=2).encode() + b"\n"


def _write(data: bytes, path: Path | None) -> None:
    if path is not None:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return
    if sys.stdout.isatty():
        raise Wrong("output", "a terminal cannot show a packet's bytes", "give a file with --output, or use a pipe")
    with printing(), suppress(BrokenPipeError):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def _give_images(archive: AlertArchive, place: Place, folder: Path) -> None:
    from stream.level1.images import images

    found = images(archive.fetch(place).decode())
    if not found:
        raise SkyburstError("no_cutouts", f"the packet of {place.source} has no images in it")
    for name, data in found.items():
        _write(data, folder / name)
        click.echo(str(folder / name))
