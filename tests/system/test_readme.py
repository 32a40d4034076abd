"""README, "Set up a real host": its commands and files, as they stand there, on one machine that plays both parts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab.daemon import Daemon
from lab.namespace import Namespace
from lab.wait import wait_until
from runtime.client import ControlClient
from runtime.errors import OperatorError
from tests.guide import block, lines

PROGRAMS = Path(sys.executable).parent
DEADLINE = 60.0


class Machine:
    """A namespace in which README's commands are run; environ: for the host's commands and daemons."""

    def __init__(self, namespace: Namespace, directory: Path) -> None:
        self.namespace = namespace
        self.directory = directory
        self.environ = {
            **os.environ,
            "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
            "VRFWIRE_SOCKET": str(directory / "agent.sock"),
            "VRFWIRE_PKI": str(directory / "pki"),
        }

    def shell(self, commands: str) -> str:
        """Run commands as a user types them; the first that fails ends it. Returns what they print."""
        with self.namespace.entered():
            done = subprocess.run(
                ["sh", "-ec", commands],
                cwd=self.directory,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=DEADLINE,
                check=False,
            )
        assert done.returncode == 0, f"{commands}\n{done.stdout}{done.stderr}"
        return done.stdout

    @contextmanager
    def daemon(self, program: str, name: str) -> Iterator[None]:
        """A daemon with README's configuration; what is of this machine comes by the environment."""
        socket = self.directory / f"{name}.sock"
        argv = [str(PROGRAMS / program), "--config", str(self.directory / f"{name}.toml")]
        state = str(self.directory / "state")
        environ = {"VRFWIRE_CONTROL_SOCKET": str(socket), "VRFWIRE_STATE_DIRECTORY": state}

        def answers() -> bool:
            try:
                with ControlClient(str(socket), program) as client:
                    client.call("version", timeout=5.0)
            except OperatorError:
                return False
            return True

        daemon = Daemon(program, argv, self.namespace, self.directory / f"{name}.log", answers, environ)
        daemon.launch()
        try:
            daemon.wait_ready()
            yield
        finally:
            daemon.stop()


def connected(agent: Path) -> bool:
    """Whether the agent at a control socket has its session; by the socket, since a command takes a second here."""
    with ControlClient(str(agent)) as client:
        gateways: Any = client.call("gateway.list")["items"]
    return [gateway["state"] for gateway in gateways] == ["connected"]


def test_set_up_as_described(namespace: Callable[[str], Namespace], tmp_path: Path) -> None:
    # ip(8) mounts /run/netns over itself the first time; names made before that could not be removed after.
    subprocess.run(["sh", "-ec", "ip netns add readme; ip netns del readme"], check=True)
    machine = Machine(namespace("readme"), tmp_path)
    machine.namespace.ip("addr add 192.0.2.1/32 dev lo", "addr add 192.0.2.7/32 dev lo")
    (tmp_path / "state").mkdir()
    for text in (block("README.md", "vrfwire-gateway-ctl pki init"), block("README.md", "tar -xf hv7.tar")):
        machine.shell(text.replace("/etc/vrfwire", str(tmp_path)))
    configuration = {"gateway": block("README.md", "[gateway]"), "agent": block("README.md", "[host]")}
    assert (tmp_path / "agent.toml").read_text() == configuration["agent"]
    for name, text in configuration.items():
        (tmp_path / f"{name}.toml").write_text(text)
    check_gateway, _ = lines(block("README.md", "vrfwire-gateway --config"))
    _, doctor, check_agent, _ = lines(block("README.md", "modprobe -a vrf"))
    for check in (check_gateway, check_agent):
        assert machine.shell(check.replace("/etc/vrfwire", str(tmp_path))) == "configuration ok\n"
    with machine.daemon("vrfwire-gateway", "gateway"), machine.daemon("vrfwire-agent", "agent"):
        wait_until(lambda: connected(tmp_path / "agent.sock"), DEADLINE, "the agent to have its session")
        findings = json.loads(machine.shell(f"{doctor} --json"))["items"]
        assert [row for row in findings if row["state"] == "failed"] == []
        machine.shell(block("README.md", "vrfwire port attach web-1").replace("vrfwire status", ""))
        try:
            pings = machine.shell(block("README.md", "ip netns add web-2"))
        finally:
            machine.shell("for name in web-2 web-3; do ! ip netns list | grep -qw $name || ip netns del $name; done")
        assert "3 received" in pings
        ports = {port["name"]: port for port in json.loads(machine.shell("vrfwire port list --json"))["items"]}
        assert {name: port["announced"] for name, port in ports.items()} == dict.fromkeys(
            ("web-1", "web-2", "web-3"), "yes"
        )
        for name in ports:
            machine.shell(f"vrfwire port detach {name}")
