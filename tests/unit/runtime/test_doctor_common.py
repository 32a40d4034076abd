"""Doctor: what every daemon's doctor looks at, by made-up facts, and that nothing keeps it from ending."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lab.pki import Authority
from runtime.certificates import Certificate
from runtime.doctor_clock import RELEASED, Clock, check_clock, gather_clock
from runtime.doctor_files import (
    ROOM,
    CertificateFile,
    SecretFile,
    StateDirectory,
    check_certificates,
    check_secrets,
    check_state,
)
from runtime.doctor_gather import Look, examine, gather_certificates, gather_secrets, gather_state, service_runs
from runtime.findings import Finding, Level, good

NOW = 1_800_000_000.0
DAY = 86400.0
MINE = Certificate(7, "hv7", b"i", b"s", NOW - DAY, NOW + 300 * DAY)
PEM = Path("/etc/vrfwire/hv7.pem")


class TestCertificates:
    def judged(self, authority: bool = False, **changes: float) -> Finding:
        certificate = replace(MINE, **changes)  # type: ignore[arg-type]
        (found,) = check_certificates([CertificateFile(PEM, authority, (certificate,))], NOW)
        return found

    def test_a_good_one(self) -> None:
        found = self.judged()
        assert (found.state, found.check) == (Level.OK, "certificate /etc/vrfwire/hv7.pem")
        assert found.detail.startswith("valid until 20")

    @pytest.mark.parametrize(
        ("days", "state"), [(31, Level.OK), (29, Level.WARNING), (1, Level.WARNING), (0, Level.FAILED)]
    )
    def test_one_that_ends(self, days: int, state: Level) -> None:
        found = self.judged(not_after=NOW + days * DAY)
        assert found.state is state
        if state is not Level.OK:
            assert "vrfwire-gateway-ctl pki renew hv7" in found.hint

    def test_one_that_has_not_begun(self) -> None:
        found = self.judged(not_before=NOW + DAY)
        assert found.state is Level.FAILED
        assert "by this machine's clock" in found.detail

    def test_the_last_authority_counts(self) -> None:
        old, new = replace(MINE, not_after=NOW - DAY), replace(MINE, not_after=NOW + 300 * DAY)
        (found,) = check_certificates([CertificateFile(PEM, True, (old, new))], NOW)
        assert found.state is Level.OK
        (found,) = check_certificates([CertificateFile(PEM, False, (new, old))], NOW)
        assert found.state is Level.FAILED, "a chain is as good as its worst"

    def test_files(self, tmp_path: Path) -> None:
        mine = Authority(tmp_path).host("hv7", "vpn.example.net", ["192.0.2.7"])
        good_file, authority, bad, none = gather_certificates(
            [(mine.certificate, False), (None, False), (mine.ca, True), (mine.key, False), (tmp_path / "none", False)]
        )
        assert (good_file.error, len(good_file.certificates), authority.authority) == ("", 1, True)
        assert (bad.certificates, none.error) == ((), "No such file or directory")
        assert [one.state for one in check_certificates((bad, none), NOW)] == [Level.FAILED] * 2


@pytest.mark.parametrize(
    ("mode", "state"),
    [(0o600, Level.OK), (0o640, Level.OK), (0o644, Level.WARNING), (0o604, Level.WARNING), (0o660, Level.WARNING)],
)
def test_who_may_read_a_key(mode: int, state: Level, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("SECRET")
    key.chmod(mode)
    (found,) = check_secrets(gather_secrets({"tls.key": key, "none": None}))
    assert found.state is state
    assert "SECRET" not in repr(found)
    if state is Level.WARNING:
        assert found.hint == f"chmod 0640 {key}"


def test_a_key_that_is_not_there(tmp_path: Path) -> None:
    (found,) = check_secrets(gather_secrets({"tls.key": tmp_path / "none"}))
    assert (found.state, found.detail) == (Level.FAILED, "No such file or directory")
    (found,) = check_secrets([SecretFile("tls.key", PEM, error="Permission denied")])
    assert found.state is Level.FAILED


class TestState:
    @pytest.mark.parametrize(
        ("facts", "state"),
        [
            (StateDirectory(PEM, False, "", 0o700, ROOM, 5), Level.OK),
            (StateDirectory(PEM, False, "", 0o750, ROOM, None), Level.OK),
            (StateDirectory(PEM, missing=True), Level.OK),
            (StateDirectory(PEM, error="Permission denied"), Level.FAILED),
            (StateDirectory(PEM, False, "", 0o700, ROOM - 1, 5), Level.WARNING),
            (StateDirectory(PEM, False, "", 0o700, ROOM, 0), Level.WARNING),
            (StateDirectory(PEM, False, "", 0o777, ROOM, 5), Level.WARNING),
        ],
    )
    def test_judgement(self, facts: StateDirectory, state: Level) -> None:
        (found,) = check_state(facts)
        assert found.state is state
        assert bool(found.hint) is (state is not Level.OK)

    def test_directories(self, tmp_path: Path) -> None:
        assert gather_state(tmp_path / "none").missing
        (tmp_path / "file").write_text("")
        assert gather_state(tmp_path / "file").error == "is no directory"
        tmp_path.chmod(0o711)
        facts = gather_state(tmp_path)
        assert (facts.error, facts.mode) == ("", 0o711)
        assert facts.free > 0


class TestClock:
    @pytest.mark.parametrize(
        ("clock", "state"),
        [
            (Clock(NOW, True), Level.OK),
            (Clock(NOW, False), Level.WARNING),
            (Clock(NOW, None), Level.UNKNOWN),
            (Clock(RELEASED - 1, True), Level.FAILED),
        ],
    )
    def test_judgement(self, clock: Clock, state: Level) -> None:
        (found,) = check_clock(clock)
        assert found.state is state

    def test_systemd_says_it(self, tmp_path: Path) -> None:
        (tmp_path / "run/systemd/timesync").mkdir(parents=True)
        (tmp_path / "run/systemd/timesync/synchronized").write_text("")
        assert gather_clock(NOW, tmp_path) == Clock(NOW, True)

    def test_a_filter_of_system_calls_is_not_tried(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """It would end the process."""
        monkeypatch.setattr("runtime.doctor_clock._kernel_says", lambda: pytest.fail("asked"))
        monkeypatch.setenv("PATH", str(tmp_path / "sbin"))
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/status").write_text("Name:\tpython3\nSeccomp:\t2\nSeccomp_filters:\t3\n")
        assert gather_clock(NOW, tmp_path).now == NOW

    def test_the_kernel_says_it(self) -> None:
        assert gather_clock(NOW).synchronised in (True, False, None)


class TestServices:
    def test_by_control_group(self, tmp_path: Path) -> None:
        group = tmp_path / "sys/fs/cgroup/system.slice/x.service"
        group.mkdir(parents=True)
        assert service_runs("x.service", "x", tmp_path) is False
        (group / "cgroup.procs").write_text("12\n13\n")
        assert service_runs("x.service", "x", tmp_path) is True
        assert service_runs("y.service", "y", tmp_path) is False

    def test_one_of_another_network_namespace(self, tmp_path: Path) -> None:
        for pid, namespace in (("self", "net:[1]"), ("12", "net:[2]"), ("13", "net:[1]")):
            (tmp_path / "proc" / pid / "ns").mkdir(parents=True)
            (tmp_path / "proc" / pid / "comm").write_text("manager\n" if pid == "12" else "other\n")
            (tmp_path / "proc" / pid / "ns/net").symlink_to(namespace)
        assert service_runs("manager.service", "manager", tmp_path) is False
        assert service_runs("other.service", "other", tmp_path) is True

    def test_nothing_can_be_seen(self, tmp_path: Path) -> None:
        assert service_runs("x.service", "x", tmp_path) is None


class TestExamination:
    def test_one_that_hangs_and_one_that_fails_keep_nobody(self) -> None:
        release = threading.Event()

        nothing: dict[str, int] = {}

        def ill(facts: object) -> Iterator[Finding]:
            yield good("ill", "at first")
            raise ValueError(f"not {facts}")

        def broken() -> int:
            raise PermissionError(13, "Permission denied")

        looks: list[Look[object]] = [
            Look("hangs", release.wait, lambda _: pytest.fail("judged")),
            Look("breaks", broken, lambda _: pytest.fail("judged")),
            Look("bug", lambda: nothing["none"], lambda _: pytest.fail("judged")),
            Look("ill", lambda: 7, ill),
            Look("works", lambda: 7, lambda facts: [good("works", str(facts))]),
        ]
        began = time.monotonic()
        found = examine(looks, 0.3)
        release.set()
        assert time.monotonic() - began < 10
        assert [(one.check, one.state) for one in found] == [
            ("hangs", Level.UNKNOWN),
            ("breaks", Level.UNKNOWN),
            ("bug", Level.UNKNOWN),
            ("ill", Level.UNKNOWN),
            ("works", Level.OK),
        ]
        assert "within 0 s" in found[0].detail
        assert "Permission denied" in found[1].detail
        assert "ValueError: not 7" in found[3].detail
        assert [one.hint for one in found[1:4]] == ["run it as root", *["a defect of this check: please report it"] * 2]

    def test_a_file_system_that_hangs(self, tmp_path: Path) -> None:
        """A pipe that nobody writes to is as good as one: opening it never ends."""
        os.mkfifo(tmp_path / "key.pem")
        looks: list[Look[object]] = [
            Look("secrets", lambda: gather_secrets({"tls.key": tmp_path / "key.pem"}), lambda _: pytest.fail("judged"))
        ]
        (found,) = examine(looks, 0.2)
        assert found.state is Level.UNKNOWN
        os.close(os.open(tmp_path / "key.pem", os.O_RDWR | os.O_NONBLOCK))
