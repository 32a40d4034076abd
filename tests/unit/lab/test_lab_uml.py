"""User-mode Linux: command line, room for its memory, and what its console tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import uml
from lab.errors import LabError
from lab.uml import Space

MIB = 1 << 20


def test_command_boots_the_hosts_file_system_with_our_init() -> None:
    made = uml.command("/usr/bin/linux.uml", Path("/tmp/x"), Path("/tmp/x/init"), 512, console=False)
    assert made[0] == "/usr/bin/linux.uml"
    assert {"mem=512M", "rootfstype=hostfs", "rootflags=/", "init=/tmp/x/init", "con0=null,fd:1"} <= set(made)
    disk = uml.command("linux.uml", Path("/tmp/x"), Path("/sbin/init"), 512, console=False, disk=Path("/tmp/disk"))
    assert {"ubd0=/tmp/disk", "root=/dev/ubda", "rootfstype=ext4"} <= set(disk) and "rootfstype=hostfs" not in disk
    shell = uml.command("linux.uml", Path("/tmp/x"), Path("/tmp/x/init"), 512, console=True)
    assert "con0=fd:0,fd:1" in shell and "quiet" in shell


@pytest.mark.parametrize("path", ["/tmp/a b", "/tmp/a,b"])
def test_path_that_the_kernels_command_line_would_cut(path: str) -> None:
    with pytest.raises(LabError, match="can't use the path") as caught:
        uml.command("linux.uml", Path(path), Path(path) / "init", 512, console=False)
    assert "TMPDIR" in caught.value.hint


def test_memory_goes_where_there_is_room() -> None:
    tiny, noexec, good = (
        Space("/dev/shm", 64 * MIB, True),
        Space("/mnt", 9000 * MIB, False),
        Space("/tmp", 2000 * MIB, True),
    )
    assert uml.choose_space([tiny, noexec, good], 1500 * MIB) == "/tmp"
    assert uml.choose_space([tiny, noexec, good], 32 * MIB) == "/dev/shm"
    with pytest.raises(LabError, match=r"1500 MiB .* /dev/shm \(64 MiB\), /mnt \(9000 MiB, noexec\)"):
        uml.choose_space([tiny, noexec], 1500 * MIB)
    with pytest.raises(LabError, match="looked at nothing"):
        uml.choose_space([], 1)


def test_look_for_space_leaves_out_what_is_not_there(tmp_path: Path) -> None:
    found = uml.look_for_space([str(tmp_path / "none"), "", str(tmp_path)])
    assert [space.path for space in found] == [str(tmp_path)]
    assert found[0].free > 0


@pytest.mark.parametrize(
    ("console", "told"),
    [
        (
            "x\nKernel panic - not syncing: Attempted to kill init!\nCPU: 0\n",
            "kernel panicked: Attem",
        ),
        ("Out of memory: Killed process 7 (python)\n", "ran out of memory: Out of memory"),
        ("write: No space left on device\n", "no space left for the machine's memory file"),
        ("all well\n", "ended without an exit status"),
    ],
)
def test_console_tells_why_the_machine_died(console: str, told: str) -> None:
    assert told in uml.diagnose(console)


def test_tail_is_plain_text() -> None:
    console = "one\r\n\n\x1b[1;31mtwo\x1b[0m\r\nthree\n\n"
    assert uml.tail(console) == "one\ntwo\nthree"
    assert uml.tail(console, 1) == "three"


def test_modules_are_linked_not_copied(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "6.1.0" / "kernel").mkdir(parents=True)
    (home / "6.1.0" / "modules.order").write_text("")
    (home / "6.1.0" / "modules.dep").write_text("of another place")
    root = uml.module_root(tmp_path, home)
    assert root is not None
    made = root / "lib" / "modules" / "6.1.0"
    assert (made / "kernel").is_symlink()
    assert (made / "modules.dep").read_text() == ""
    assert uml.module_root(tmp_path, tmp_path / "nothing") is None
