"""Doctor: systemd-networkd and NetworkManager, by made-up files."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.doctor_gather import gather_network_manager, gather_networkd
from agent.doctor_networkd import (
    Directory,
    File,
    Networkd,
    NetworkManager,
    assignments,
    check_network_manager,
    check_networkd,
    leaves_alone,
    network_manager_files,
    networkd_files,
    networkd_settings,
)
from runtime.findings import Level

NOTHING = Directory(None, {})
OURS = "[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\nManageForeignNextHops=no\n"


def drop_in(directory: str, **texts: str) -> Directory:
    """A directory of drop-ins; an underscore in a name is a dash."""
    names = {name.replace("_", "-") + ".conf": text for name, text in texts.items()}
    return Directory(None, {name: File(f"{directory}/{name}", text) for name, text in names.items()})


def networkd(*directories: Directory, running: bool | None = True, version: int = 257) -> Networkd:
    return Networkd(running, version, (*directories, *[NOTHING] * (4 - len(directories))))


class TestNetworkd:
    def test_defaults_remove_everything(self) -> None:
        (found,) = check_networkd(networkd())
        assert found.state is Level.WARNING
        assert "routes, rules and next hops" in found.detail
        assert "/etc/systemd/networkd.conf.d/vrfwire.conf; systemctl restart systemd-networkd" in found.hint
        assert r"printf '[Network]\nManageForeignRoutes=no\n" in found.hint

    def test_our_drop_in_is_enough(self) -> None:
        (found,) = check_networkd(networkd(drop_in("/etc/systemd/networkd.conf.d", vrfwire=OURS)))
        assert (found.state, found.hint) == (Level.OK, "")
        assert "/etc/systemd/networkd.conf.d/vrfwire.conf" in found.detail

    def test_what_an_old_version_lacks_is_not_asked_for(self) -> None:
        text = "[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\n"
        old, new = networkd(drop_in("/e", a=text), version=252), networkd(drop_in("/e", a=text), version=256)
        assert [one.state for one in check_networkd(old)] == [Level.OK]
        assert [one.state for one in check_networkd(new)] == [Level.WARNING]

    def test_one_that_does_not_run_and_says_nothing(self) -> None:
        (found,) = check_networkd(networkd(running=False))
        assert found.state is Level.OK

    def test_one_that_does_not_run_yet(self) -> None:
        later = drop_in("/etc", zz="[Network]\nManageForeignRoutes=yes\n")
        (found,) = check_networkd(networkd(later, running=False))
        assert found.state is Level.WARNING
        assert "/etc/zz.conf" in found.detail

    def test_one_that_can_not_be_seen(self) -> None:
        (found,) = check_networkd(networkd(running=None))
        assert found.state is Level.UNKNOWN

    def test_the_last_assignment_wins_whatever_the_directory(self) -> None:
        files = networkd_files(
            [
                Directory(
                    File("/etc/networkd.conf", "[Network]\nManageForeignRoutes=yes"), drop_in("/etc", b=OURS).drop_ins
                ),
                drop_in("/run", c="[Network]\nManageForeignRoutes=yes\n"),
                NOTHING,
                drop_in("/usr", a="[Network]\nManageForeignRoutes=yes\n"),
            ]
        )
        assert [file.path for file in files] == ["/etc/networkd.conf", "/usr/a.conf", "/etc/b.conf", "/run/c.conf"]
        assert networkd_settings(files)["ManageForeignRoutes"] == (True, "/run/c.conf")
        assert networkd_settings(files)["ManageForeignNextHops"] == (False, "/etc/b.conf")

    def test_a_drop_in_hides_its_namesakes_of_later_directories(self) -> None:
        files = networkd_files([drop_in("/etc", a=""), NOTHING, NOTHING, drop_in("/usr", a=OURS)])
        assert [file.path for file in files] == ["/etc/a.conf"]
        assert networkd_settings(files) == {}

    def test_the_main_file_of_the_first_directory_that_has_one(self) -> None:
        main = [Directory(File(f"/{name}/networkd.conf", ""), {}) for name in ("run", "usr")]
        assert [file.path for file in networkd_files([NOTHING, *main])] == ["/run/networkd.conf"]

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("[Network]\nManageForeignRoutes=no", False),
            ("[Network]\nManageForeignRoutes = FALSE ", False),
            ("[Network]\nManageForeignRoutes=0\nManageForeignRoutes=on", True),
            ("[Network]\nManageForeignRoutes=off\nManageForeignRoutes=perhaps", False),
            ("[Network]\nManageForeignRoutes=off\nManageForeignRoutes=", False),
            ("[Network]\n#ManageForeignRoutes=no", None),
            ("[Network]\n;ManageForeignRoutes=no", None),
            ("[DHCP]\nManageForeignRoutes=no", None),
            ("ManageForeignRoutes=no", None),
            ("[Network]\nmanageforeignroutes=no", None),
            ("[Network]\nManageForeignRoutes=\\\n# between\nno", False),
        ],
    )
    def test_syntax(self, text: str, value: bool | None) -> None:
        found = networkd_settings([File("f", text)]).get("ManageForeignRoutes")
        assert (found[0] if found is not None else None) is value

    def test_garbage_is_passed_over(self) -> None:
        assert list(assignments("\0[\n]=\n[x\n=\n\\")) == [("", "]", ""), ("", "", "")]

    def test_devices_of_ours_that_it_manages(self) -> None:
        facts = Networkd(True, 257, (drop_in("/etc", a=OURS),), ("vw-gre", "vw-blue"))
        found = list(check_networkd(facts))[1]
        assert found.state is Level.WARNING
        assert "vw-gre and vw-blue" in found.detail
        assert r"printf '[Match]\nName=vw-*\n[Link]\nUnmanaged=yes\n'" in found.hint

    def test_files_are_read_as_it_reads_them(self, tmp_path: Path) -> None:
        for name, text in {
            "etc/systemd/networkd.conf": "[Network]\nManageForeignRoutes=yes\n",
            "run/systemd/networkd.conf.d/20-ours.conf": OURS,
            "usr/lib/systemd/networkd.conf.d/30-theirs.conf": "[Network]\nManageForeignRoutes=yes\n",
            "usr/lib/systemd/networkd.conf.d/notes.txt": "[Network]\nManageForeignRoutes=no\n",
        }.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        masked = tmp_path / "etc/systemd/networkd.conf.d/30-theirs.conf"
        masked.parent.mkdir()
        masked.symlink_to("/dev/null")
        group = tmp_path / "sys/fs/cgroup/system.slice/systemd-networkd.service"
        group.mkdir(parents=True)
        (group / "cgroup.procs").write_text("77\n")
        facts = gather_networkd(tmp_path)
        assert facts.running is True
        (found,) = check_networkd(Networkd(facts.running, 257, facts.directories))
        assert found.state is Level.OK
        assert found.detail.endswith("(/run/systemd/networkd.conf.d/20-ours.conf)")
        (group / "cgroup.procs").write_text("")
        assert gather_networkd(tmp_path).running is False


class TestNetworkManager:
    @pytest.mark.parametrize(
        ("text", "alone"),
        [
            ("", False),
            ("[keyfile]\nunmanaged-devices=interface-name:vw-*", True),
            ("[keyfile]\nunmanaged-devices=mac:00:11:22:33:44:55;interface-name:vw-*", True),
            ("[keyfile]\nunmanaged-devices=*,except:interface-name:eth0", True),
            ("[keyfile]\nunmanaged-devices=*;except:interface-name:vw-*", False),
            ("[keyfile]\nunmanaged-devices=interface-name:=vw-*", False),
            ("[keyfile]\nunmanaged-devices=vw-gre", True),
            ("[keyfile]\nunmanaged-devices=interface-name:vw-*\nunmanaged-devices=eth0", False),
            ("[keyfile]\nunmanaged-devices=interface-name:vw-*\nunmanaged-devices+=eth0", True),
            ("[keyfile]\nunmanaged-devices=interface-name:vw-*\nunmanaged-devices-=interface-name:vw-*", False),
            ("[device-vrfwire]\nmatch-device=interface-name:vw-*\nmanaged=0", True),
            ("[device-vrfwire]\nmatch-device=interface-name:vw-*\nmanaged=1", False),
            ("[device]\nmanaged=no", True),
            ("[main]\nunmanaged-devices=interface-name:vw-*", False),
        ],
    )
    def test_which_devices(self, text: str, alone: bool) -> None:
        assert leaves_alone([File("f", text)], "vw-gre") is alone

    def test_order_of_its_directories(self) -> None:
        main = Directory(File("/etc/NetworkManager.conf", ""), drop_in("/etc", a="", z="").drop_ins)
        files = network_manager_files([drop_in("/usr", a="", b=""), drop_in("/run", c=""), main])
        assert [file.path for file in files] == [
            *("/usr/b.conf", "/run/c.conf", "/etc/NetworkManager.conf", "/etc/a.conf", "/etc/z.conf"),
        ]

    @pytest.mark.parametrize(
        ("running", "text", "state"),
        [
            (True, "", Level.WARNING),
            (None, "", Level.UNKNOWN),
            (False, "", Level.OK),
            (True, "[keyfile]\nunmanaged-devices=interface-name:vw-*", Level.OK),
        ],
    )
    def test_finding(self, running: bool | None, text: str, state: Level) -> None:
        (found,) = check_network_manager(NetworkManager(running, (drop_in("/etc", a=text),)))
        assert found.state is state
        assert ("nmcli general reload" in found.hint) is (state is not Level.OK)

    def test_files(self, tmp_path: Path) -> None:
        path = tmp_path / "etc/NetworkManager/conf.d/vrfwire.conf"
        path.parent.mkdir(parents=True)
        path.write_text("[keyfile]\nunmanaged-devices=interface-name:vw-*")
        facts = gather_network_manager(tmp_path)
        assert leaves_alone(network_manager_files(facts.directories), "vw-gre")
        assert facts.running is None, "neither control groups nor processes can be seen there"
