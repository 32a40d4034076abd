"""`vrfwire doctor`: what keeps this host from working, looked for with effort. Blocking: run it beside the loop.

It changes nothing, takes ten seconds at most, and works with the daemon and without, as root and as anybody. Facts are
gathered at the same time (agent/doctor_gather.py); what they mean is decided by pure functions (agent/doctor_*.py).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import Any

from agent.allocate import INSTANCE_IDS
from agent.config import AgentConfig
from agent.doctor_firewall import check_firewall
from agent.doctor_foreign import check_foreign
from agent.doctor_gather import (
    gather_firewall,
    gather_foreign,
    gather_modules,
    gather_network_manager,
    gather_networkd,
    gather_settings,
    gather_underlay,
    underlay_device,
)
from agent.doctor_kernel import Modules, check_modules, check_settings
from agent.doctor_networkd import check_network_manager, check_networkd
from agent.doctor_underlay import check_underlay
from agent.tls import tls_context
from datapath import probe
from runtime.config import load, read_secret
from runtime.doctor_clock import check_clock, gather_clock
from runtime.doctor_files import check_certificates, check_secrets, check_state
from runtime.doctor_gather import Look, examine, gather_certificates, gather_secrets, gather_state
from runtime.errors import OperatorError
from runtime.findings import Finding, Level, failed, good


@dataclass(frozen=True, slots=True)
class Live:
    """What the running daemon adds. hosts: underlay addresses that were announced to it; mtu: that it tells VMs."""

    hosts: tuple[IPv4Address, ...]
    mtu: int


def examine_host(config: AgentConfig, live: Live | None = None) -> list[Finding]:
    """Everything but what only the running daemon knows. live: of the daemon, None without one."""
    return examine([*_looks_without_configuration(live is not None), *_looks(config, live)])


def examine_configured(path: str | None) -> list[Finding]:
    """Without the daemon: by its configuration, as far as that can be read. path: of the file, None for the usual
    one."""
    try:
        config = load(AgentConfig, program="agent", path=path).value
    except OperatorError as error:
        return [failed("configuration", str(error), error.hint), *examine(_looks_without_configuration(False))]
    return examine_host(config)


def _looks_without_configuration(running: bool) -> list[Look[Any]]:
    return [
        Look("kernel", lambda: (probe.probe(), gather_modules()), lambda facts: _kernel(facts[0], facts[1], running)),
        Look("systemd-networkd", gather_networkd, check_networkd),
        Look("NetworkManager", gather_network_manager, check_network_manager),
        Look("clock", lambda: gather_clock(time.time()), check_clock),
    ]


def _looks(config: AgentConfig, live: Live | None) -> list[Look[Any]]:
    tls, section, address = config.tls, config.datapath, config.host.address
    labels = range(section.label_base, section.label_base + section.label_count)
    tables = range(section.table_base, section.table_base + len(INSTANCE_IDS))
    certificates = ((tls.certificate, False), (tls.ca, True))
    passwords = {f"password for {one.address}": one.password_file for one in config.gateway}
    mtu, hosts = (None, None) if live is None else (live.mtu, live.hosts)
    return [
        Look(
            "settings of the kernel",
            lambda: gather_settings(labels.stop),
            lambda values: check_settings(values, live is not None),
        ),
        Look("underlay", lambda: gather_underlay(address, section.underlay_mtu, mtu, hosts), check_underlay),
        Look("firewall", lambda: gather_firewall(_name(address)), check_firewall),
        Look("other programs", lambda: gather_foreign(tables, labels), check_foreign),
        Look("certificates", lambda: list(_usable(config)), list),
        Look(
            "certificates",
            lambda: gather_certificates(certificates),
            lambda files: check_certificates(files, time.time()),
        ),
        Look("secrets", lambda: gather_secrets({"tls.key": tls.key, **passwords}), check_secrets),
        Look("state directory", lambda: gather_state(config.state.directory), check_state),
    ]


def _kernel(findings: Iterable[probe.Finding], modules: Modules, running: bool) -> Iterator[Finding]:
    """What was tried out; where that isn't permitted, the modules say something."""
    tried = True
    privileged = running or os.geteuid() == 0
    for item in findings:
        found = Finding(item.check, Level(item.state.value), item.detail, item.hint)
        if found.check == "test namespace":
            tried = False
        if found.state is Level.FAILED and not privileged and found.check in ("privileges", "test namespace"):
            # That somebody else lacks privileges says nothing of the daemon.
            found = replace(found, state=Level.UNKNOWN)
        yield found
    if not tried:
        yield from check_modules(modules)


def _name(address: IPv4Address) -> str:
    device = underlay_device(address)
    return "" if device is None else device.name


def _usable(config: AgentConfig) -> Iterator[Finding]:
    """Certificates and passwords as the daemon takes them."""
    try:
        tls_context(config.tls.ca, config.tls.certificate, config.tls.key)
    except OperatorError as error:
        yield failed("certificates", str(error), error.hint)
    else:
        yield good("certificates", "belong together")
    for gateway in config.gateway:
        if gateway.password_file is not None:
            check = f"password for {gateway.address}"
            try:
                read_secret(gateway.password_file)
            except OperatorError as error:
                yield failed(check, str(error), error.hint)
