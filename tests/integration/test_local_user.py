"""The servers run for a normal user as they do for root (whose processes give up root before anything starts)."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.local import kafka_jars

# All is imported before root is given up, since the project may lie where others cannot read.
AS_NOBODY = """
import os, sys, encodings.idna, stringprep
from pathlib import Path
from stream.local import LocalKafka, LocalMariadb, kafka_jars
folder, jars, user = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
kafka_jars(jars); os.setgroups([]); os.setgid(user); os.setuid(user)
server = LocalMariadb(folder / "mariadb").start()
print(server.execute("SELECT 1")[0][0], Path(f"/proc/{server.process.pid}").stat().st_uid)
server.stop()
broker = LocalKafka(folder / "kafka", jars).start()
broker.create_topic("topic")
print(Path(f"/proc/{broker.process.pid}").stat().st_uid)
broker.stop()
"""


@pytest.fixture
def nobodys_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="skyburst-nobody-"))
    shutil.copytree(kafka_jars(), folder / "jars")
    for path in (folder, folder / "jars", *(folder / "jars").iterdir()):
        os.chown(path, pwd.getpwnam("nobody").pw_uid, -1)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="not root: every other test of the servers proves it")
def test_servers_start_and_stop_for_a_normal_user(nobodys_folder: Path) -> None:
    user = pwd.getpwnam("nobody").pw_uid
    command = [sys.executable, "-c", AS_NOBODY, nobodys_folder, nobodys_folder / "jars", user]
    done = subprocess.run(
        [str(part) for part in command], cwd="/tmp", env={"PATH": os.environ["PATH"]}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1", str(user), str(user)]
