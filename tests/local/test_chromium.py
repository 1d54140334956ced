"""Where the browser of the tests comes from, on a machine whose `apt-get` is a script."""

import os
from pathlib import Path

import pytest

from local import chromium as module
from local.chromium import chromium
from local.errors import NoChromiumError

APT = """#!/bin/sh
echo "$*" >> {folder}/asked
case "$*" in
*update*) {update}; touch {folder}/lists ;;
*install*chromium*)
  test -e {folder}/lists || {{ echo no such package >&2; exit 100; }}
  cp {folder}/apt-get {folder}/chromium ;;
esac
"""


class Machine:
    """A machine of nothing but a folder on its PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []

    def has(self, name: str, script: str = "#!/bin/sh\n") -> None:
        program = self.folder / name
        program.write_text(script)
        program.chmod(0o755)

    def has_apt(self, *, lists: bool = False, update: str = ":") -> None:
        self.has("apt-get", APT.format(folder=self.folder, update=update))
        if lists:
            (self.folder / "lists").touch()

    def asked(self) -> list[str]:
        return [line.split()[1] for line in (self.folder / "asked").read_text().splitlines()]

    def chromium(self) -> Path:
        return chromium(self.said.append)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    for tool in ("touch", "cp"):
        (tmp_path / tool).symlink_to(f"/bin/{tool}")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(module, "cache_dir", lambda: tmp_path)
    return Machine(tmp_path)


@pytest.mark.parametrize("name", ["chromium", "chromium-browser", "google-chrome"])
def test_the_one_that_is_there_is_taken(machine: Machine, name: str) -> None:
    machine.has(name)
    assert machine.chromium() == machine.folder / name
    assert machine.said == []


def test_root_gets_debians_installed_once(machine: Machine) -> None:
    machine.has_apt(lists=True)
    assert machine.chromium() == machine.chromium() == machine.folder / "chromium"
    assert machine.asked() == ["install"]
    assert "apt-get" in machine.said[0]


def test_a_new_machine_has_no_package_lists_yet(machine: Machine) -> None:
    machine.has_apt()
    assert machine.chromium() == machine.folder / "chromium"
    assert machine.asked() == ["install", "update", "install"]


def test_without_a_network_the_error_says_what_is_wrong_and_what_to_do(machine: Machine) -> None:
    machine.has_apt(update="echo no network >&2; exit 100")
    with pytest.raises(NoChromiumError, match=r"(?s)no network.*install one of chromium"):
        machine.chromium()


def test_who_is_not_root_is_told_what_to_install(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.has_apt(lists=True)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(NoChromiumError, match="as root: apt-get install chromium"):
        machine.chromium()
    assert not (machine.folder / "asked").exists()
