"""The real disk: what it refuses, what it makes, and what a full one looks like."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import numpy as np
import pytest
from doubles.alert_batches import batch, header

from stream.alertdb.damage import disk_error
from stream.alertdb.disk import RealDisk
from stream.alertdb.local import LocalStore
from stream.alertdb.names import file_name, is_folder, night_of, number_of, parsed, random_number, role_of
from stream.errors import Fatal, SkyburstError, Transient

NAME = file_name(20260305, 5, "0" * 16, "data")


def test_the_root_and_its_missing_parents_are_made(tmp_path: Path) -> None:
    RealDisk(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()


def test_links_are_not_followed(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path / "store")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / NAME.partition("/")[2]).write_bytes(b"secret")
    (tmp_path / "store" / "20260305").symlink_to(outside)
    with pytest.raises(OSError, match=r"directory|symbolic"):
        disk.open(NAME)
    (tmp_path / "store" / "20260305").unlink()
    disk.make_folder("20260305")
    (tmp_path / "store" / NAME).symlink_to(outside / NAME.partition("/")[2])
    for act in (disk.open, disk.create):
        with pytest.raises(OSError):
            act(NAME)


def test_foreign_files_are_not_listed(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    disk.make_folder("20260305")
    os.close(disk.create(NAME))
    for foreign in ("20260305/notes.txt", "20260305/5.avro", "20260305/5-0.avro.tmp"):
        (tmp_path / foreign).write_bytes(b"")
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "20260306").write_bytes(b"a file, no folder")
    assert list(LocalStore(tmp_path).names()) == [(NAME, 5)]


def test_a_limit_of_file_size_is_a_full_disk_and_the_batch_is_written_again(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    """A real short write, then EFBIG: what a full file system does, without one."""
    store = LocalStore(tmp_path)
    segment = store.create(header())
    what = batch(rng, count=40)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(Transient) as full:
            segment.append(what.blocks, what.rows, {"commit": 1})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert full.value.code == "disk_full"
    assert not segment.failed
    appended = segment.append(what.blocks, what.rows, {"commit": 1})
    segment.sync()
    segment.publish(appended)
    with store.read(segment.ref) as reader:
        assert len(list(reader.messages())) == 40


@pytest.mark.parametrize(
    ("number", "policy", "code"),
    [
        (errno.ENOSPC, Transient, "disk_full"),
        (errno.EDQUOT, Transient, "disk_full"),
        (errno.EFBIG, Transient, "disk_full"),
        (errno.EIO, Transient, "disk_failed"),
        (errno.ESTALE, Transient, "disk_failed"),
        (errno.EROFS, Transient, "disk_failed"),
        (errno.EMFILE, Transient, "too_many_files"),
        (errno.ENOENT, Transient, "store_away"),
        (errno.EEXIST, Transient, "name_taken"),
        (errno.EACCES, Fatal, "store_refused"),
    ],
)
def test_each_error_of_the_disk_has_its_policy(number: int, policy: type[SkyburstError], code: str) -> None:
    error = disk_error(OSError(number, os.strerror(number)), NAME)
    assert type(error) is policy
    assert error.code == code
    assert NAME in str(error)


def test_names_are_integers_and_random_hex_and_read_back() -> None:
    assert NAME == "20260305/5-0000000000000000.avro"
    assert (number_of(NAME), role_of(NAME), night_of(NAME)) == (5, "data", 20260305)
    assert is_folder("20260305")
    assert not is_folder("lost+found")
    numbers = {random_number() for _ in range(1000)}
    assert len(numbers) == 1000
    assert all(0 < number < 2**63 for number in numbers)
    for wrong in ("x", "20260305/5-0000000000000000.avro\n", "2026035/5-0000000000000000.avro", f"{NAME}.bak"):
        with pytest.raises(Fatal):
            parsed(wrong)
    with pytest.raises(Fatal):
        file_name(20260305, -5, "0" * 16, "data")
    with pytest.raises(Fatal):
        file_name(20260305, 5, "../../../../etc/", "data")
