"""What a machine lacks is installed by apt, after an update, and only that; who may not install is told what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

NEEDS = Path(__file__).resolve().parents[2] / "deploy" / "debian-needs"

APT_GET = """#!/bin/sh
echo "$@" >> "{log}"
for each in "$@"; do
    case "$each" in
        maven) printf '#!/bin/sh\\n' > "{bin}/mvn"; chmod +x "{bin}/mvn" ;;
        openjdk-*|default-jre-*) printf '#!/bin/sh\\n' > "{bin}/java"; chmod +x "{bin}/java" ;;
    esac
done
"""


class Machine:
    """A PATH of its own with a stand-in for apt that writes down what it is asked for."""

    def __init__(self, folder: Path, *, root: bool = True, java17: bool = True) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.log = folder / "apt.log"
        for name in ("bash", "sh", "env", "chmod"):
            (self.bin / name).symlink_to(shutil.which(name) or name)
        self.script("apt-get", APT_GET.format(log=self.log, bin=self.bin))
        self.script("apt-cache", "#!/bin/sh\n" + ("echo 'openjdk-17-jre-headless | 17 | main'\n" if java17 else ""))
        self.script("id", f"#!/bin/sh\necho {0 if root else 1000}\n")

    def script(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def needs(self, *things: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.bin), "LC_ALL": os.environ.get("LC_ALL", "C")}
        return subprocess.run([NEEDS, *things], env=environment, capture_output=True, text=True)

    @property
    def asked(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


def test_installs_what_is_absent_after_an_update_and_then_nothing(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    assert machine.needs("java", "maven").returncode == 0
    assert machine.asked[0] == "update -q"
    assert machine.asked[1].endswith("openjdk-17-jre-headless maven")
    assert machine.needs("java", "maven").returncode == 0
    assert len(machine.asked) == 2


def test_takes_the_release_s_own_java_where_there_is_no_17(tmp_path: Path) -> None:
    machine = Machine(tmp_path, java17=False)
    assert machine.needs("java").returncode == 0
    assert machine.asked[1].endswith("default-jre-headless")


def test_fails_where_the_package_did_not_bring_it(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.script("apt-get", "#!/bin/sh\n")
    done = machine.needs("maven")
    assert done.returncode == 1
    assert "still lacks maven" in done.stderr


@pytest.mark.parametrize("thing", ["java", "maven"])
def test_without_root_and_sudo_it_says_what_root_has_to_do(tmp_path: Path, thing: str) -> None:
    machine = Machine(tmp_path, root=False)
    done = machine.needs(thing)
    assert done.returncode == 1
    assert thing in done.stderr
    assert "apt-get install" in done.stderr
    assert machine.asked == []


def test_with_sudo_a_normal_user_may_install(tmp_path: Path) -> None:
    machine = Machine(tmp_path, root=False)
    machine.script("sudo", '#!/bin/sh\nshift\nexec "$@"\n')
    machine.script("true", "#!/bin/sh\n")
    assert machine.needs("maven").returncode == 0
    assert machine.asked[0] == "update -q"


def test_an_unknown_need_is_wrong_use(tmp_path: Path) -> None:
    assert Machine(tmp_path).needs("nonsense").returncode == 2
