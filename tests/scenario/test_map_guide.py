"""docs/map.md: its commands and files, as they stand there. What is a machine's (folders, addresses, ports) is replaced
in all of them alike, and the host's kernel is played; the authority is made by README's commands."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent.config import AgentConfig
from agent.main import Daemon as AgentDaemon
from agent.store import Store
from datapath.fake import FakeKernel
from lab.speakers.base import die_with_parent
from runtime.client import ControlClient
from runtime.config import load
from runtime.errors import OperatorError
from tests.scenario.agent_harness import free_port, until
from tests.scenario.daemon_process import DEADLINE, wait_for

ROOT = Path(__file__).parents[2]
PASSWORD = "ann's password"
"""What ann types."""

PROGRAM = """#!{python}
import sys
from pathlib import Path
import runtime.config
runtime.config.DIRECTORY = Path("{etc}")
from {module} import main
sys.exit(main())
"""
"""A program of ours whose /etc/vrfwire is elsewhere."""
SQLITE = """#!{python}
import re, sqlite3, sys
target = re.fullmatch(r'.backup (.*)', sys.argv[2])[1]
with sqlite3.connect(sys.argv[1]) as source, sqlite3.connect(target) as copy:
    source.backup(copy)
"""
"""The one command of sqlite3(1) that the guide has."""
CURL = """#!{python}
import ssl, sys, urllib.request
ca, url = sys.argv[sys.argv.index("--cacert") + 1], sys.argv[-1]
print(urllib.request.urlopen(url, context=ssl.create_default_context(cafile=ca)).read().decode())
"""
"""curl(1), as far as it is used: exit code 1 for anything but 200."""
PROGRAMS = {
    "vrfwire-map": "ifmap.cli",
    "vrfwire-gateway": "gateway.main",
    "vrfwire-gateway-ctl": "gateway.cli",
    "vrfwire": "agent.cli",
}


def blocks(page: str) -> list[str]:
    """The indented blocks of a page."""
    found = re.findall(r"(?:^|\n\n)((?:    .*\n|\n(?=    ))+)", (ROOT / page).read_text())
    return [textwrap.dedent(block).strip("\n") + "\n" for block in found]


class Site:
    """The machines of the guide, all of them this one."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.etc = directory / "etc"
        folders = [self.etc, directory / "lib", directory / "run", directory / "backups", directory / "bin"]
        for folder in folders:
            folder.mkdir()
        self.ports = {"8443": str(free_port()), "5222": str(free_port())}
        self._replaced = {
            "/etc/vrfwire": str(self.etc),
            "/var/lib/vrfwire-map": str(directory / "lib"),
            "/run/vrfwire": str(directory / "run"),
            "/var/backups": str(directory / "backups"),
            "192.0.2.9": "127.0.0.1",
            "192.0.2.1": "127.0.0.1",
        }
        for name, module in PROGRAMS.items():
            self._program(name, PROGRAM.replace("{etc}", str(self.etc)).replace("{module}", module))
        self._program("sqlite3", SQLITE)
        self._program("curl", CURL)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("VRFWIRE_")}
        clean["VRFWIRE_PKI"] = str(self.etc / "pki")
        self.environ = {**clean, "PATH": f"{directory / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
        self.sockets = {name: directory / f"run/{name}.sock" for name in ("map", "gateway", "agent")}

    def _program(self, name: str, text: str) -> None:
        path = self.directory / "bin" / name
        path.write_text(text.replace("{python}", sys.executable))
        path.chmod(0o755)

    def here(self, text: str) -> str:
        """A text of the guide with what is of this machine."""
        for there, here in self._replaced.items():
            text = re.sub(rf"{re.escape(there)}(?![\d])", here, text)
        for there, here in self.ports.items():
            text = re.sub(rf"(?<=:){there}\b", here, text)
        return text

    def block(self, start: str, page: str = "docs/map.md") -> str:
        """The one block of a page that starts so."""
        found = [block for block in blocks(page) if block.startswith(start)]
        assert len(found) == 1, f"{page}: {len(found)} blocks start with {start!r}"
        return self.here(found[0])

    def write(self, name: str, text: str) -> Path:
        """A file of /etc/vrfwire."""
        path = self.etc / name
        path.touch(0o600)
        path.write_text(text)
        return path

    def shell(self, commands: str, socket: str = "", stdin: str = "") -> str:
        """Run commands as a user types them; the first that fails ends it. Returns what they print."""
        environ = {**self.environ, "VRFWIRE_SOCKET": str(self.sockets[socket])} if socket else self.environ
        done = subprocess.run(
            ["sh", "-ec", commands],
            cwd=self.etc,
            env=environ,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}{done.stderr}"
        return done.stdout

    @contextmanager
    def daemon(self, name: str, command: str) -> Iterator[subprocess.Popen[bytes]]:
        """A daemon by the guide's command; where its socket and its state are is told by the environment."""
        state = {
            "VRFWIRE_CONTROL_SOCKET": str(self.sockets[name]),
            **({"VRFWIRE_STORE_URL": f"sqlite:///{self.directory}/lib/map.db"} if name == "map" else {}),
            **({"VRFWIRE_STATE_DIRECTORY": str(self.directory / "lib")} if name == "gateway" else {}),
        }
        log = self.directory / f"{name}.log"
        with log.open("ab") as file:
            process = subprocess.Popen(
                command.split(),
                cwd=self.etc,
                env={**self.environ, **state},
                executable=self.directory / "bin" / command.split()[0],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                preexec_fn=die_with_parent,
            )

        def answers() -> bool:
            assert process.poll() is None, log.read_text()
            return self.ask(name, "version") is not None

        try:
            wait_for(answers, f"{command}:\n{log.read_text()}")
            yield process
            process.terminate()
            assert process.wait(DEADLINE) == 0, log.read_text()
        finally:
            process.kill()
            process.wait()

    def ask(self, name: str, method: str) -> Any:
        """A reply by a control socket; None when nobody answers."""
        try:
            with ControlClient(str(self.sockets[name])) as client:
                return client.call(method, timeout=5.0)
        except OperatorError:
            return None


def lines(block: str) -> list[str]:
    """Commands without what is said about them."""
    return [line.partition("  #")[0].rstrip() for line in block.splitlines()]


def test_set_up_back_up_and_restore_as_described(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.shell(site.block("vrfwire-gateway-ctl pki init", "README.md") + site.block("tar -xf hv7.tar", "README.md"))
    site.shell(site.block("vrfwire-gateway-ctl pki enroll map") + site.block("tar -xf map.tar"))

    # The server: its configuration, and ann's hash.
    site.write("map.toml", site.block("[map]\nlisten"))
    passwd, check, serve = lines(site.block("vrfwire-map passwd --output"))
    site.shell(passwd, stdin=f"{PASSWORD}\n")
    assert site.shell(check) == "configuration ok\n"

    # Whom commands ask; the first VPN.
    with site.daemon("map", serve):
        site.write("map-client.toml", site.block("[map]\nurl = ["))
        site.write("ann.password", f"{PASSWORD}\n")
        provision = site.block("vrfwire-map vpn create blue --route-target 64512:1\nvrfwire-map bind")
        printed = site.shell(provision)
        assert "VPN blue: provisioned" in printed and "web-1" in printed
        site.shell(site.block("sqlite3"))
        assert '"state": "ok"' in site.shell(site.block("curl"))

        # The gateway: README's, with the map in the place of its [[vpn]].
        readme = site.block("[gateway]", "README.md")
        static = readme.index("[[vpn]]")
        site.write("gateway.toml", readme[:static] + site.block('[map]\nurl = "https'))
        check, start = lines(site.block("vrfwire-gateway --config"))
        assert site.shell(check) == "configuration ok\n"
        with site.daemon("gateway", start):
            wait_for(lambda: site.ask("gateway", "map.show")["synchronised"], "the gateway to have the map")
            shown = site.shell(site.block("vrfwire-gateway-ctl map show"), "gateway")
            assert re.search(r"synchronised: +yes", shown) and re.search(r"blue +map +64512:1", shown)
            asyncio.run(on_the_host(site))
        assert json.loads(site.shell("vrfwire-map vpn list --json"))["items"][0]["attachments"] == []

    # What was there at the back-up is there again.
    site.shell(site.block("rm -f"))
    with site.daemon("map", serve):
        (vpn,) = json.loads(site.shell("vrfwire-map vpn list --json"))["items"]
        assert (vpn["name"], vpn["attachments"]) == ("blue", ["web-1"])


async def on_the_host(site: Site) -> None:
    """README's host: attach, look in the map, take the binding back."""
    port = f"[[gateway]]\nport = {site.ports['5222']}"
    config = site.write("agent.toml", site.block("[host]", "README.md").replace("[[gateway]]", port))
    paths = {"control.socket": site.sockets["agent"], "state.directory": site.directory / "lib/agent"}
    loaded = load(AgentConfig, program="agent", path=config, environ={}, overrides=paths)
    kernel = FakeKernel()
    store = Store(loaded.value.state.directory)
    daemon = AgentDaemon(loaded, store, kernel.drivers(), kernel.monitor)
    await daemon.start()

    def shell(commands: str, socket: str = "") -> Callable[[], str]:
        return lambda: site.shell(commands, socket)

    try:
        await asyncio.to_thread(shell(site.block("vrfwire port attach web-1"), "agent"))
        state = shell(site.block("vrfwire-map state --graph"))
        # The gateway says it in half a second.
        async with asyncio.timeout(DEADLINE):
            while "web-1: up" not in (drawn := await asyncio.to_thread(state)):
                pass
        assert "up at hv7 (192.0.2.7) by gateway vpn.example.net, routes 10.1.1.1/32" in drawn
        await asyncio.to_thread(shell("vrfwire-map unbind web-1 blue"))
        await until(lambda: any(one.blocked for one in daemon.agent.inventory.attachments()), "web-1 is blocked")
        problems = await asyncio.to_thread(site.ask, "agent", "status")
        assert "vrfwire-map bind web-1 blue --address 10.1.1.1" in json.dumps(problems["problems"])
    finally:
        await daemon.stop()
        store.close()
        kernel.monitor.close()
