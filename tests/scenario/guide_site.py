"""The machines of a guide, all of them this one: commands as a reader types them, on loopback, in folders of the test.

What is a machine's (folders, addresses, ports) is replaced in all blocks alike."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab.speakers.base import die_with_parent
from runtime.client import ControlClient
from runtime.errors import ExitCode, OperatorError
from tests import guide
from tests.scenario.agent_harness import free_port
from tests.scenario.daemon_process import DEADLINE, wait_for

PROGRAM = """#!{python}
import os, sys
from pathlib import Path
import runtime.config
runtime.config.DIRECTORY = Path("{etc}")
os.environ.setdefault("VRFWIRE_SOCKET", "{socket}")
from {module} import main
sys.exit(main())
"""
"""A program of ours whose /etc/vrfwire and whose daemon's socket are elsewhere."""
SQLITE = """#!{python}
import re, sqlite3, sys
target = re.fullmatch(r'.backup (.*)', sys.argv[2])[1]
with sqlite3.connect(sys.argv[1]) as source, sqlite3.connect(target) as copy:
    source.backup(copy)
"""
"""The one command of sqlite3(1) that the guides have."""
CURL = """#!{python}
import ssl, sys, urllib.request
ca, url = sys.argv[sys.argv.index("--cacert") + 1], sys.argv[-1]
print(urllib.request.urlopen(url, context=ssl.create_default_context(cafile=ca)).read().decode())
"""
"""curl(1), as far as it is used: exit code 1 for anything but 200."""
PROGRAMS = {
    "vrfwire": ("agent.cli", "agent"),
    "vrfwire-agent": ("tests.scenario.fake_agent", "agent"),
    "vrfwire-gateway": ("gateway.main", "gateway"),
    "vrfwire-gateway-ctl": ("gateway.cli", "gateway"),
    "vrfwire-map": ("ifmap.cli", "map"),
}
"""Module, and the daemon that the program is or asks."""
WELL = (ExitCode.OK,)
LOOKED = (ExitCode.OK, ExitCode.DEGRADED)
"""Of commands that look: what they find is this machine's."""


class GuideSite:
    """Folders in the place of /etc/vrfwire and the like; programs that use them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.etc = directory / "etc"
        self.run = directory / "run"
        folders = [self.etc, directory / "lib", self.run, directory / "backups", directory / "bin", directory / "tmp"]
        for folder in folders:
            folder.mkdir()
        self.ports = {"8443": str(free_port()), "5222": str(free_port())}
        self._replaced = {
            "/etc/vrfwire": str(self.etc),
            "/var/lib/vrfwire-map": str(directory / "lib"),
            "/run/vrfwire": str(self.run),
            "/var/backups": str(directory / "backups"),
            "/tmp": str(directory / "tmp"),
            "192.0.2.9": "127.0.0.1",
            "192.0.2.1": "127.0.0.1",
        }
        for name, (module, daemon) in PROGRAMS.items():
            text = PROGRAM.replace("{etc}", str(self.etc)).replace("{module}", module)
            self._program(name, text.replace("{socket}", str(self.socket(daemon))))
        self._program("sqlite3", SQLITE)
        self._program("curl", CURL)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("VRFWIRE_")}
        clean["VRFWIRE_PKI"] = str(self.etc / "pki")
        self.environ = {
            **clean,
            "PATH": f"{directory / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(guide.ROOT),
        }

    def socket(self, daemon: str) -> Path:
        """The control socket of "agent", "gateway" or "map"."""
        return self.run / f"{daemon}.sock"

    def _program(self, name: str, text: str) -> None:
        path = self.directory / "bin" / name
        path.write_text(text.replace("{python}", sys.executable))
        path.chmod(0o755)

    def here(self, text: str) -> str:
        """A text of a guide with what is of this machine."""
        # In one pass: the folders here may have /tmp in their names.
        there = "|".join(map(re.escape, self._replaced))
        text = re.sub(rf"(?<![\w.])({there})(?![\w])", lambda found: self._replaced[found[0]], text)
        for port, here in self.ports.items():
            text = re.sub(rf"(?<=:){port}\b", here, text)
        return text

    def block(self, page: str, start: str) -> str:
        """The one block of a page that begins so."""
        return self.here(guide.block(page, start))

    def write(self, name: str, text: str) -> Path:
        """A file of /etc/vrfwire."""
        path = self.etc / name
        path.parent.mkdir(exist_ok=True)
        path.touch(0o600)
        path.write_text(text)
        return path

    def shell(self, commands: str, stdin: str = "", codes: Collection[int] = WELL) -> str:
        """Run commands as a user types them; the first that fails ends it. Returns what they print.

        codes: exit codes that are none of a failure.
        """
        printed = ""
        for command in guide.lines(commands):
            done = subprocess.run(
                ["sh", "-ec", command],
                cwd=self.etc,
                env=self.environ,
                input=stdin,
                capture_output=True,
                text=True,
                timeout=DEADLINE,
                check=False,
            )
            assert done.returncode in codes, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
            printed += done.stdout
        return printed

    @contextmanager
    def daemon(self, name: str, command: str) -> Iterator[subprocess.Popen[bytes]]:
        """A daemon by a guide's command; where its socket and its state are is told by the environment."""
        state = {
            "VRFWIRE_CONTROL_SOCKET": str(self.socket(name)),
            **({"VRFWIRE_STORE_URL": f"sqlite:///{self.directory}/lib/map.db"} if name == "map" else {}),
            **({"VRFWIRE_STATE_DIRECTORY": str(self.directory / f"lib/{name}")} if name != "map" else {}),
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
            with ControlClient(str(self.socket(name))) as client:
                return client.call(method, timeout=5.0)
        except OperatorError:
            return None
