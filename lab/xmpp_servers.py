"""Prosody and ejabberd in the foreground, for comparison and with a component of ours behind them.

Both are clients' servers of one domain: port `c2s` (plain, with STARTTLS when there is a certificate), port `tls`
(TLS from the first byte), port `component` (XEP-0114) for `component_domain`, and their own publish-subscribe service
at `pubsub_domain`, with items kept in memory and everybody allowed to create nodes and subscribe. They
run as children of the caller on the loopback interface, keep every file in one directory, and die with the caller.

    with Prosody(tmp_path, credentials=authority.gateway("gw.example.org", ["127.0.0.1"])) as server:
        connect((server.address, server.tls))
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from lab.daemon import Daemon
from lab.errors import LabError
from lab.pki import Credentials
from lab.process import die_with_parent

DOMAIN = "gw.example.org"
CONNECT = 1.0
"""Seconds that a connection on the loopback interface may take."""


class XmppServer(ABC):
    """An XMPP server of others.

    folder: for its files, made when missing. domain: of its clients. credentials: for TLS; without, it offers none and
    `tls` is 0. accounts: passwords by user name; None: anybody logs in under any name with any password. publishers:
    users that may publish to every node of pubsub_domain (Prosody lets nobody else but a node's owner; ejabberd lets
    everybody). resume_time: seconds that a lost session with XEP-0198 is kept. address: of the loopback interface.
    """

    program: str
    package: str
    """Of Debian."""

    def __init__(
        self,
        folder: Path,
        *,
        domain: str = DOMAIN,
        credentials: Credentials | None = None,
        accounts: Mapping[str, str] | None = None,
        publishers: Sequence[str] = (),
        resume_time: int = 300,
        address: str = "127.0.0.1",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.domain = domain
        self.component_domain = f"vpn.{domain}"
        self.pubsub_domain = f"pubsub.{domain}"
        self.component_secret = secrets.token_hex(16)
        self.credentials = credentials
        self.accounts = accounts
        self.publishers = publishers
        self.resume_time = resume_time
        self.address = address
        self.c2s, self.component, self.tls = free_ports(address, 3)
        if credentials is None:
            self.tls = 0
        self._daemon: Daemon | None = None

    @abstractmethod
    def _prepare(self) -> tuple[list[str], dict[str, str]]:
        """Write the configuration; the command line and the environment to run it with."""

    def _serving(self) -> bool:
        return all(_accepts(self.address, port) for port in (self.c2s, self.tls, self.component) if port)

    @property
    def daemon(self) -> Daemon:
        """The running program, with pid, pause(), resume(), kill(), tail(). Raises LabError before start()."""
        if self._daemon is None:
            raise LabError(f"{self.program} was not started")
        return self._daemon

    @property
    def pid(self) -> int:
        """Process id, whose CPU time is the whole server's."""
        return self.daemon.pid

    def start(self) -> None:
        """Start it and wait until all of its ports accept. Raises LabError when it isn't installed or doesn't run."""
        if shutil.which(self.program, path=_search_path()) is None:
            raise LabError(f"{self.program} is not installed", hint="tools/setup installs it")
        if self._daemon is None:
            argv, environ = self._prepare()
            environ["PATH"] = _search_path()  # Prosody is a script, and looks for its interpreter
            log = self.folder / f"{self.program}.log"
            self._daemon = Daemon(self.program, argv, None, log, self._serving, environ, die_with_parent)
        self._daemon.start()

    def stop(self) -> None:
        """Ask it to end and wait; ended by force when it doesn't. Can be started again."""
        if self._daemon is not None and self._daemon.alive:
            with contextlib.suppress(LabError):
                self._daemon.stop()

    def restart(self) -> None:
        """stop() and start(): all streams end, the ports stay the same."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._end()

    def _end(self) -> None:
        # Nothing of it is wanted any more, so that it needn't be given time to end in order.
        if self._daemon is not None:
            self._daemon.kill()


class Prosody(XmppServer):
    """See the module. Prosody offers clients no SASL EXTERNAL."""

    program = "prosody"
    package = "prosody"

    def _prepare(self) -> tuple[list[str], dict[str, str]]:
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        (self.folder / "certs").mkdir(exist_ok=True)  # it looks into it in any case
        for user, password in (self.accounts or {}).items():
            file = data / self.domain.replace(".", "%2e").replace("-", "%2d") / "accounts" / f"{user}.dat"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"return {{ password = {_quoted(password)} }};\n")
        config = self.folder / "prosody.cfg.lua"
        config.write_text("\n".join([*self._settings(data), *self._hosts(), ""]))
        return ["prosody", "--config", str(config), "-F"], {}

    def _settings(self, data: Path) -> list[str]:
        address = f'{{ "{self.address}" }}'
        lines = [
            "run_as_root = true",
            f"pidfile = {_quoted(str(self.folder / 'prosody.pid'))}",
            f"data_path = {_quoted(str(data))}",
            'log = { warn = "*console" }',
            f"interfaces = {address}; c2s_ports = {{ {self.c2s} }}; s2s_ports = {{ }}; http_ports = {{ }}",
            f"https_ports = {{ }}; c2s_direct_tls_ports = {{ {self.tls or ''} }}; s2s_direct_tls_ports = {{ }}",
            f"component_interfaces = {address}; component_ports = {{ {self.component} }}",
            'network_backend = "epoll"; storage = { accounts = "internal" }; default_storage = "memory"',
            'modules_enabled = { "roster", "saslauth", "tls", "disco", "ping", "smacks" }',
            'modules_disabled = { "s2s", "offline" }',
            "c2s_require_encryption = false; allow_unencrypted_plain_auth = true",
            f"smacks_hibernation_time = {self.resume_time}",
        ]
        if self.accounts is None:
            sure = "Yes please, I know what I'm doing!"
            lines.append(f'authentication = "insecure"; insecure_open_authentication = {_quoted(sure)}')
        else:
            lines.append('authentication = "internal_plain"')
        if self.credentials is not None:
            files = (_quoted(str(self.credentials.certificate)), _quoted(str(self.credentials.key)))
            lines.append("ssl = {{ certificate = {}; key = {} }}".format(*files))
        return lines

    def _hosts(self) -> list[str]:
        publishers = ", ".join(f'"{user}@{self.domain}"' for user in self.publishers)
        return [
            f'VirtualHost "{self.domain}"',
            f'Component "{self.component_domain}"',
            f'component_secret = "{self.component_secret}"',
            f'Component "{self.pubsub_domain}" "pubsub"',
            'modules_enabled = { "ping" }; autocreate_on_publish = true; autocreate_on_subscribe = true',
            'pubsub_max_items = 100000; default_admin_affiliation = "owner"; expose_publisher = false',
            f"admins = {{ {publishers} }}",
        ]


class Ejabberd(XmppServer):
    """See the module. Without Erlang's distribution, so that neither epmd nor a port of its own is there.

    Its release offers clients no SASL EXTERNAL.
    """

    program = "ejabberdctl"
    package = "ejabberd"

    def _prepare(self) -> tuple[list[str], dict[str, str]]:
        found = sorted(Path("/usr/lib").glob("*/ejabberd-*/ebin"))
        if not found:
            raise LabError("ejabberd is not installed where Debian has it", hint="tools/setup installs it")
        ebin = found[-1]
        config = self.folder / "ejabberd.yml"
        # JSON is YAML.
        config.write_text(json.dumps(self._settings(), indent=1))
        # Those of an earlier start are there.
        accounts = [
            f"true = lists:member(ejabberd_auth:try_register({_binary(user)}, {_binary(self.domain)}, "
            f"{_binary(password)}), [ok, {{error, exists}}])"
            for user, password in (self.accounts or {}).items()
        ]
        done = f"ok = file:write_file({_quoted(str(self._marker))}, <<>>)"
        # All applications of Debian's Erlang packages stand beside each other there. No busy waiting: it shares the
        # processors with what it is compared with.
        argv = ["erl", "-noinput", "+K", "true", "+P", "250000", "+Q", "65536", "+sbwt", "none", "+sbwtdcpu", "none"]
        argv += ["+sbwtdio", "none", "-pa", str(ebin), "-mnesia", "dir", f'"{self.folder / "mnesia"}"']
        argv += ["-s", "ejabberd", "-eval", ", ".join([*accounts, done]) + "."]
        environ = {
            "ERL_LIBS": str(ebin.parent.parent),
            "EJABBERD_CONFIG_PATH": str(config),
            "EJABBERD_LOG_PATH": str(self.folder / "ejabberd.events.log"),
            "ERL_CRASH_DUMP": str(self.folder / "erl_crash.dump"),
            "HOME": str(self.folder),
        }
        return argv, environ

    @property
    def _marker(self) -> Path:
        return self.folder / "accounts-made"

    def start(self) -> None:
        """See XmppServer."""
        self._marker.unlink(missing_ok=True)
        super().start()

    def _serving(self) -> bool:
        return self._marker.exists() and super()._serving()

    def _settings(self) -> dict[str, object]:
        common = {"ip": self.address, "shaper": "none"}
        clients = {**common, "module": "ejabberd_c2s", "max_stanza_size": 1 << 20, "access": "c2s"}
        component = {"hosts": {self.component_domain: {"password": self.component_secret}}, "access": "all"}
        listen = [
            {**clients, "port": self.c2s, "starttls": self.credentials is not None},
            {**common, "module": "ejabberd_service", "port": self.component, **component},
        ]
        settings: dict[str, object] = {
            "hosts": [self.domain],
            "loglevel": "warning",
            "acme": {"auto": False},
            "listen": listen,
            "access_rules": {"c2s": {"allow": "all"}, "pubsub_createnode": {"allow": "all"}},
            "modules": self._modules(),
        }
        if self.credentials is not None:
            listen.append({**clients, "port": self.tls, "tls": True})
            settings["certfiles"] = [str(self.credentials.certificate), str(self.credentials.key)]
        if self.accounts is None:
            settings |= {"auth_method": ["anonymous"], "anonymous_protocol": "login_anon"}
        else:
            settings |= {"auth_method": ["internal"]}
        return settings

    def _modules(self) -> dict[str, object]:
        node = {
            "access_model": "open",
            "publish_model": "open",
            "max_items": 100000,
            "send_last_published_item": "never",
        }
        pubsub = {
            "hosts": [self.pubsub_domain],
            "access_createnode": "pubsub_createnode",
            "plugins": ["flat"],
            "ignore_pep_from_offline": True,
            "last_item_cache": False,
            "max_items_node": 100000,
            "default_node_config": node,
        }
        return {
            "mod_disco": {},
            "mod_ping": {},
            "mod_stream_mgmt": {"resume_timeout": self.resume_time},
            "mod_caps": {},
            "mod_pubsub": pubsub,
        }


Make = Callable[..., XmppServer]
SERVERS: Mapping[str, Make] = {"prosody": Prosody, "ejabberd": Ejabberd}
"""What can be asked for by name, e.g. by a benchmark's argument."""


def free_ports(address: str, count: int) -> list[int]:
    """Different TCP ports that nobody listens on now."""
    with contextlib.ExitStack() as held:
        listeners = [held.enter_context(socket.create_server((address, 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in listeners]


def _search_path() -> str:
    """PATH, with what a user's may lack: where Debian has servers."""
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin"


def _accepts(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), CONNECT).close()
    except OSError:
        return False
    return True


def _quoted(text: str) -> str:
    """As a string of Lua and of Erlang."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _binary(text: str) -> str:
    return f"<<{_quoted(text)}/utf8>>"
