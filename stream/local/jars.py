"""Apache Kafka's jars: named with their digests in ``kafka.sha256``, fetched by Maven from ``pom.xml`` beside it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path

from stream.errors import Fatal

VERSION = "4.1.1"

QUICK_JAVA = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""JVM options for the shortest start; throughput wants Java's own choice, G1 and the full compiler."""

SETTING = "SKYBURST_KAFKA_JARS"
"""Environment variable that names the folder of the jars."""


def default_folder() -> Path:
    """Where the jars are kept: `SETTING`, else ``kafka-<version>`` in skyburst's folder of the user's cache."""
    setting = os.environ.get(SETTING)
    if setting:
        return Path(setting).absolute()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache).absolute() / "skyburst" / f"kafka-{VERSION}"


def kafka_jars(folder: Path | None = None) -> Path:
    """Return the folder with Kafka's jars (43 MB), fetched first where one is missing or differs from its digest.

    Parameters
    ----------
    folder
        Where to keep them; `default_folder` where None.

    Raises
    ------
    Fatal
        ``java_missing``, ``maven_missing``, ``jars_failed``.
    """
    folder = folder or default_folder()
    if not lacking(folder):
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as fresh:
        _fetch(Path(fresh))
        wrong = lacking(Path(fresh))
        if wrong:
            raise Fatal("jars_failed", f"Maven brought other jars than {VERSION} has: {', '.join(wrong)}")
        for name in digests():
            (Path(fresh) / name).replace(folder / name)
    return folder


def classpath(folder: Path) -> str:
    """Java class path of the jars in `folder`: just those that are named, whatever else lies there."""
    return os.pathsep.join(str(folder / name) for name in digests())


@cache
def digests() -> Mapping[str, str]:
    """SHA-256 (hex) of each jar by file name."""
    lines = resources.files("stream.local").joinpath("kafka.sha256").read_text().split("\n")
    return {name: digest for digest, name in (line.split() for line in lines if line)}


def lacking(folder: Path) -> list[str]:
    """Names of the jars that `folder` lacks or has with other bytes."""
    return [name for name, digest in digests().items() if _digest(folder / name) != digest]


def find_java() -> str:
    """Path of ``java``, from ``JAVA_HOME`` or PATH.

    Raises
    ------
    Fatal
        ``java_missing``, with what to install.
    """
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin") if home else None
    found = found or shutil.which("java")
    if found is None:
        raise Fatal("java_missing", "Kafka needs Java 17 or later", "try: apt-get install openjdk-17-jre-headless")
    return found


def _fetch(target: Path) -> None:
    find_java()
    maven = shutil.which("mvn")
    if maven is None:
        raise Fatal("maven_missing", "Kafka's jars are fetched by Maven", "try: apt-get install maven")
    pom = target / "pom.xml"
    pom.write_text(resources.files("stream.local").joinpath("pom.xml").read_text())
    done = subprocess.run(
        [maven, "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={target}"],
        env=os.environ | {"MAVEN_OPTS": " ".join((*QUICK_JAVA, os.environ.get("MAVEN_OPTS", "")))},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Fatal("jars_failed", f"Maven could not fetch Kafka {VERSION}:\n{(done.stdout + done.stderr)[-2000:]}")


def _digest(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None
