"""The commands of vrfwire-map as an operator runs them, against `vrfwire-map serve`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.speakers.base import die_with_parent
from runtime.errors import ExitCode
from tests.scenario.conftest import MakeMap
from tests.scenario.daemon_process import DEADLINE, wait_for
from tests.scenario.map_process import PASSWORD, MapProcess, client

PRESENTATION = (Path(__file__).parents[1] / "data/presentation-example.xml").read_text()
REAL = """<m:publish xmlns:m="http://www.trustedcomputinggroup.org/2010/IFMAP/2" xmlns:x="urn:example:x" session-id="1">
<update lifetime="session"><device><name>pe1</name></device>
<metadata><x:seen ifmap-cardinality="multiValue">here</x:seen></metadata></update></m:publish>
"""


class Operator:
    """Runs commands as somebody."""

    def __init__(self, server: MapProcess, user: str, directory: Path) -> None:
        password = directory / f"{user}.password"
        password.touch(0o600)
        password.write_text(f"{PASSWORD}\n")
        self.url = f"https://127.0.0.1:{server.port}/"
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("VRFWIRE_")},
            "VRFWIRE_SOCKET": str(server.socket),
            "VRFWIRE_MAP_URL": self.url,
            "VRFWIRE_MAP_CA": str(server.credentials.ca),
            "VRFWIRE_MAP_USER": user,
            "VRFWIRE_MAP_PASSWORD_FILE": str(password),
        }
        self._running: list[subprocess.Popen[str]] = []

    def __call__(self, *arguments: str, code: int = 0, stdin: str = "") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "ifmap.cli", *arguments],
            env=self._environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert done.returncode == code, f"{arguments}: {done}"
        return done

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json").stdout)

    def begin(self, output: Path, *arguments: str) -> subprocess.Popen[str]:
        """Start a command that goes on; both its streams go to a file."""
        with output.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "ifmap.cli", *arguments],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                text=True,
                preexec_fn=die_with_parent,
            )
        self._running.append(process)
        return process

    def close(self) -> None:
        for process in self._running:
            process.kill()
            process.wait()


@pytest.fixture
def operators(make_map: MakeMap, tmp_path: Path) -> Iterator[tuple[Operator, Operator]]:
    """One who may do everything, and one who only looks."""
    server = make_map(client("operator") + client("looker", "write = []"))
    both = Operator(server, "operator", tmp_path), Operator(server, "looker", tmp_path)
    yield both
    for operator in both:
        operator.close()


def test_a_vpn_from_create_to_delete(operators: tuple[Operator, Operator], tmp_path: Path) -> None:
    operator, looker = operators
    name = 'R&D <"1">'
    watched = tmp_path / "watched"
    watching = looker.begin(watched, "watch", "--vpn", name, "--json", "--count", "3")
    wait_for(lambda: "watching, " in watched.read_text(), "the watch to begin")

    operator("vpn", "create", name, "--route-target", "64512:1", "--import", "64512:9")
    assert "unchanged" in operator("vpn", "create", name, "--route-target", "64512:1", "--import", "64512:9").stdout
    operator("vpn", "create", name, "--route-target", "64512:2", code=ExitCode.CONFLICT)
    operator("bind", "web-1", name, "--address", "10.1.1.1", "--address", "2001:db8::/64")
    assert "unchanged" in operator("bind", "web-1", name, "--address", "10.1.1.1").stdout

    assert watching.wait(DEADLINE) == 0, watched.read_text()
    changes = [json.loads(line) for line in watched.read_text().splitlines() if line.startswith("{")]
    told = [(each["change"], {one["name"] for one in each["metadata"]}) for each in changes if each["metadata"]]
    assert ("update", {"group-target"}) in told

    (row,) = looker.json("state")["items"]
    assert (row["attachment"], row["vpns"]) == ("web-1", [name])
    assert row["addresses"] == ["10.1.1.1/32", "2001:db8::/64"]
    refused = looker("unbind", "web-1", code=ExitCode.NOT_PERMITTED).stderr
    assert refused.startswith("vrfwire-map: map server: AccessDenied")

    operator("vpn", "delete", name, code=ExitCode.CONFLICT)
    operator("vpn", "delete", name, "--force")
    assert looker.json("vpn", "list") == {"items": []}


def test_the_presentations_document(operators: tuple[Operator, Operator], tmp_path: Path) -> None:
    operator, looker = operators
    request = operator("publish", "-", "--dry-run", stdin=PRESENTATION).stdout
    assert "http://www.trustedcomputinggroup.org/2010/IFMAP/2" in request and "attachement" not in request
    assert "turned into IF-MAP" in operator("publish", "-", stdin=PRESENTATION).stdout
    drawn = looker("state", "--graph").stdout
    assert "VPN SimpleVPN" in drawn and "attachment vm:00:00:00:01:02:03: up" in drawn and "192.168.0.1" in drawn
    found = looker("search", "--attachment", "vm:00:00:00:01:02:03", "--match-links", "vpn:binding").stdout
    assert "connectivity-group SimpleVPN" in found and "attachment-state" not in found
    operator("purge")
    assert looker("state", "--graph").stdout == ""


def test_metadata_of_a_session_is_held(operators: tuple[Operator, Operator], tmp_path: Path) -> None:
    operator, looker = operators
    document, output = tmp_path / "real.xml", tmp_path / "output"
    document.write_text(REAL)
    holding = operator.begin(output, "publish", str(document), "--hold")
    wait_for(lambda: "holding the session" in output.read_text(), "the publish to hold")
    (item,) = looker.json("search", "--device", "pe1")["items"]
    assert [one["name"] for one in item["metadata"]] == ["seen"]
    sessions = operator.json("session", "list")["items"]
    assert [row["client"] for row in sessions if row["client"] == "operator"] == ["operator"]
    holding.send_signal(signal.SIGINT)
    assert holding.wait(DEADLINE) == 130
    (item,) = looker.json("search", "--device", "pe1")["items"]
    assert item["metadata"] == []


def test_reaching_the_server(operators: tuple[Operator, Operator], tmp_path: Path) -> None:
    operator, _ = operators
    assert operator.json("status")["state"] == "ok"
    (tmp_path / "wrong").touch(0o600)
    (tmp_path / "wrong").write_text("wrong\n")
    refused = operator("vpn", "list", "--password-file", str(tmp_path / "wrong"), code=ExitCode.NOT_PERMITTED).stderr
    assert "doesn't accept user 'operator'" in refused and PASSWORD not in refused
    operator("vpn", "list", "--url", "https://127.0.0.1:9/", code=ExitCode.UNREACHABLE)
    operator("vpn", "list", "--url", "https://127.0.0.1:9/", "--url", operator.url)
