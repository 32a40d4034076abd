"""The gateway's BGP: its codec, reflection side by side with FRR, BIRD, OpenBGPD and GoBGP, a million routes, VPNs.

    codec               see benchmarks.bgp_codec
    reflect             100,000 VPN-IPv4 routes of one client of a route reflector reach another one. "packed": 100 of
                        them in an UPDATE; "single": one in an UPDATE, what BIRD and GoBGP send. The gateway is the real
                        daemon, like the others. The clock runs from the first byte of the first UPDATE until the last
                        route has been read by the other client; both sessions are warm by then, which means that a
                        route has gone the whole way (FRR waits for 1 s and 50 ms a peer before it sends anything to
                        a new session). Each speaker starts anew for each round, by turns; the best round counts
    reflect_*_vs_*      ratios of the packed case in this run, the gateway's figure through the other one's: below 1 is
                        better than the other
    load_1m             1,000,000 routes, 100 in an UPDATE, into the daemon; memory is all that the process has then
    import_1000_vrfs    100,000 routes of 1,000 route targets into the VRF tables of 1,000 VPNs, without daemon
    rtc                 a peer with route-target constraint comes to want, at once, all 2,000 route targets of 100,000
                        routes, and wants none any more: until the last route, and until the last withdrawal. "tenth":
                        200 targets of 10,000 routes, beside GoBGP, which needs minutes for all
    hold                1,000 hosts are connected and subscribed, and 1,000,000 routes go from one peer to another, with
                        a hold time of 9 s; later the first peer is lost, and its routes are withdrawn from the other
                        one. Longest time without a sign of life of the gateway, sessions lost, longest time that a host
                        waited for the answer to a ping and a command for its own

"_s" are seconds, "_mb" MiB of resident memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import bgp_codec
from benchmarks.bgp_reflectors import (
    DOMAIN,
    Gateway,
    Reflector,
    core,
    missing,
    other,
    present,
    scenario,
)
from benchmarks.bgp_scenarios import REMOTE, Figures, Settings
from benchmarks.gateway_daemon import ROOT
from benchmarks.report import Figures as Report
from benchmarks.report import Progress
from lab.errors import LabError
from lab.namespace import Namespace
from lab.pki import Authority
from runtime.errors import OperatorError

COUNT = 100_000
MANY = 1_000_000
ROUNDS = 3
SHAPES = {"packed": 100, "single": 1}
"""Routes of an UPDATE by name."""
OURS = "vrfwire"
TARGETS = 2000
CONSTRAINING = ("gobgp",)
"""Others that have route-target constraint."""
HOSTS = 1000
VPNS = 100
HOLD_TIME = 9
HOLD_TARGETS = 10_000
"""Route targets of the routes of the measurement with hosts; each VPN imports one of them."""
PROBE = 0.05
"""Seconds between two commands to the gateway under load."""


class Stage:
    """Where speakers run: directories and a network namespace for each measurement."""

    def __init__(self, directory: Path, progress: Progress) -> None:
        self.directory = directory
        self.progress = progress
        self.authority = Authority(directory / "pki")
        self._number = 0

    @contextmanager
    def running(self, make: Callable[[Path, Namespace], Reflector]) -> Iterator[tuple[Reflector, Namespace]]:
        """A speaker that has started; it is ended after the block. Raises LabError with the end of its log."""
        self._number += 1
        directory = self.directory / str(self._number)
        directory.mkdir()
        with Namespace(f"vw-bench-{self._number}-{self.directory.name[-8:]}") as namespace:
            speaker = make(directory, namespace)
            try:
                speaker.start()
                yield speaker, namespace
            except LabError as error:
                raise LabError(str(error), log=f"{error.log}\n{speaker.tail()}") from None
            finally:
                speaker.kill()


def reflection(stage: Stage, names: list[str], count: int, rounds: int) -> dict[tuple[str, str], Figures]:
    """The best round by speaker and shape; a speaker that fails is named and left out."""
    best: dict[tuple[str, str], Figures] = {}
    failed: set[str] = set()
    for _ in range(rounds):
        for shape, each in SHAPES.items():
            for name in names:
                if name in failed:
                    continue
                try:
                    found = reflect_once(stage, name, Settings(0, count, each))
                except LabError as error:
                    if name == OURS:
                        raise
                    failed.add(name)
                    stage.progress(f"reflect: {name} fails and is left out: {error} {error.log}")
                    continue
                stage.progress(
                    f"reflect {shape}: {name} {found['seconds']:.2f} s, {found['updates']:,.0f} UPDATEs, "
                    f"{found['bytes'] / 1e6:.1f} MB, resident {found['rss_before_mb']:.0f} to {found['rss_mb']:.0f} MiB"
                )
                known = best.get((name, shape))
                if known is None or found["seconds"] < known["seconds"]:
                    best[name, shape] = found
    return {where: found for where, found in best.items() if where[0] not in failed}


def reflect_once(stage: Stage, name: str, settings: Settings) -> Figures:
    """One round of one speaker."""

    def make(directory: Path, namespace: Namespace) -> Reflector:
        if name == OURS:
            return Gateway(directory, namespace, authority=stage.authority)
        return other(name, directory, namespace)

    with stage.running(make) as (speaker, namespace):
        return scenario(namespace, "reflect", settings.of(speaker.pid))


def compare(best: dict[tuple[str, str], Figures]) -> dict[str, float | int | str]:
    """Figures by speaker, and ratios."""
    figures: dict[str, float | int | str] = {}
    for (name, shape), found in best.items():
        for key, title in (("seconds", "s"), ("updates", "updates"), ("bytes", "bytes"), ("rss_mb", "mb")):
            figures[f"reflect_{shape}_{title}_{name}"] = found[key]
        figures[f"reflect_{shape}_before_mb_{name}"] = found["rss_before_mb"]
    for name in sorted({name for name, _ in best} - {OURS}):
        for shape, infix in (("packed", ""), ("single", "single_")):
            ours, theirs = best[OURS, shape], best[name, shape]
            figures[f"reflect_{infix}seconds_vs_{name}"] = round(ours["seconds"] / theirs["seconds"], 3)
            figures[f"reflect_{infix}memory_vs_{name}"] = round(ours["rss_mb"] / theirs["rss_mb"], 3)
    return figures


def load(stage: Stage, count: int) -> Figures:
    """A million routes into the daemon."""

    def make(directory: Path, namespace: Namespace) -> Reflector:
        return Gateway(directory, namespace, ("vpnv4", "rtc"), authority=stage.authority)

    with stage.running(make) as (speaker, namespace):
        found = scenario(namespace, "load", Settings(speaker.pid, count))
    return {"load_1m_s": found["seconds"], "load_1m_cpu_s": found["cpu_s"], "load_1m_mb": found["rss_mb"]}


def membership(stage: Stage, count: int, targets: int, rivals: list[str]) -> Figures:
    """A change of interest, by the daemon and by the core; a tenth of it beside the others that can do it."""
    found = change_interest(stage, OURS, count, targets)
    figures: Figures = {"rtc_change_s": max(found["all_come_s"], found["all_go_s"])}
    for key in ("all_come_s", "all_go_s", "one_comes_s", "one_goes_s"):
        figures[f"rtc_{key}"] = found[key]
    alone = core("membership", count)
    figures |= {"rtc_core_come_s": alone["come_s"], "rtc_core_go_s": alone["go_s"]}
    for name in [OURS, *rivals] if rivals else []:
        try:
            small = change_interest(stage, name, count // 10, targets // 10)
        except LabError as error:
            stage.progress(f"rtc: {name} fails and is left out: {error} {error.log}")
            continue
        figures[f"rtc_tenth_change_s_{name}"] = max(small["all_come_s"], small["all_go_s"])
    for name in rivals:
        if (theirs := figures.get(f"rtc_tenth_change_s_{name}")) is not None:
            figures[f"rtc_tenth_change_vs_{name}"] = round(figures[f"rtc_tenth_change_s_{OURS}"] / theirs, 4)
    return figures


def change_interest(stage: Stage, name: str, count: int, targets: int) -> Figures:
    """The scenario of that name."""

    def make(directory: Path, namespace: Namespace) -> Reflector:
        families = ("vpnv4", "rtc")
        if name == OURS:
            return Gateway(directory, namespace, families, authority=stage.authority)
        return other(name, directory, namespace, families)

    with stage.running(make) as (speaker, namespace):
        return scenario(namespace, "membership", Settings(speaker.pid, count, count // targets, targets))


class Prober(threading.Thread):
    """Asks a gateway for its version again and again."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(daemon=True)
        self.longest = 0.0
        self.error = ""
        self._gateway = gateway
        self._over = threading.Event()

    def run(self) -> None:
        """See the class."""
        while not self._over.wait(PROBE):
            began = time.perf_counter()
            try:
                self._gateway.ask("version")
            except OperatorError as error:
                self.error = str(error)
            self.longest = max(self.longest, time.perf_counter() - began)

    def finish(self) -> None:
        """Stop asking."""
        self._over.set()
        self.join()


def hold(stage: Stage, count: int, hosts: int, targets: int = HOLD_TARGETS, *, newcomer: bool = False) -> Figures:
    """A million routes while many hosts are connected. targets: of the routes; the first of them are those of the VPNs.
    newcomer: one more host logs in again and again."""
    names = [f"vpn{number}" for number in range(1, VPNS + 1)]
    tables = "".join(
        f'[[vpn]]\nname = "{name}"\nimport = ["64512:{number}"]\nexport = ["64512:{number}"]\n'
        for number, name in enumerate(names, 1)
    )
    people = [f"hv{number}" for number in range(hosts + newcomer)]
    issued = [stage.authority.host(name, DOMAIN, []) for name in people]
    connecting = {
        "gateway": REMOTE,
        "port": 5222,
        "domain": DOMAIN,
        "ca": str(stage.authority.certificate),
        "vpns": names,
        "hosts": people,
        "certificates": [(str(one.certificate), str(one.key)) for one in issued],
        "newcomer": newcomer,
    }
    made: list[Gateway] = []

    def make(directory: Path, namespace: Namespace) -> Reflector:
        made.append(Gateway(directory, namespace, tables=tables, hold_time=HOLD_TIME, authority=stage.authority))
        return made[0]

    settings = stage.directory / "hosts.json"
    settings.write_text(json.dumps(connecting), encoding="utf-8")
    with stage.running(make) as (speaker, namespace):
        argv = [sys.executable, "-m", "benchmarks.bgp_hosts", str(settings)]
        with namespace.entered():
            process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        with process:
            assert process.stdout is not None
            connected = process.stdout.readline()
            if not connected:
                raise LabError("the hosts could not log in")
            stage.progress(f"hold: {hosts} hosts connected in {json.loads(connected)['seconds']:.1f} s")
            prober = Prober(made[0])
            prober.start()
            try:
                wanted = Settings(speaker.pid, count, 100, targets, HOLD_TIME, 120.0)
                found = scenario(namespace, "hold", wanted)
            finally:
                prober.finish()
                out, _ = process.communicate("")
        seen = json.loads(out)
    figures: Figures = {
        "hold_gap_s": found["silence_s"],
        "hold_sessions_lost": int(found["sessions_lost"]) + int(seen["lost"]),
        "hold_load_s": found["seconds"],
        "hold_lost_peer_s": found["lost_s"],
        "hold_mb": found["rss_mb"],
        "hold_routes_to_hosts": seen["routes"],
        "hold_ping_longest_s": round(seen["longest_answer_s"], 3),
        "hold_command_longest_s": round(prober.longest, 3),
    }
    if newcomer:
        figures |= {"hold_login_longest_s": round(seen["longest_login_s"], 3), "hold_logins": seen["logins"]}
    return figures


def run(progress: Progress) -> Report:
    """See benchmarks.report.Benchmark."""
    for name in missing():
        progress(f"{name} is not installed here: its column is left out")
    figures: dict[str, float | int | str] = dict(bgp_codec.run(progress))
    with tempfile.TemporaryDirectory(prefix="vrfwire-bench-") as directory:
        # Daemons that give up their privileges look for their files here.
        Path(directory).chmod(0o755)
        try:
            figures |= _outside(Stage(Path(directory), progress))
        except LabError as error:
            progress(error.log)
            raise OperatorError("BGP benchmark", str(error), error.hint) from error
    return figures


def _outside(stage: Stage) -> dict[str, float | int | str]:
    """Everything that is measured with daemons."""
    figures = compare(reflection(stage, [OURS, *present()], COUNT, ROUNDS))
    rivals = [name for name in present() if name in CONSTRAINING]
    parts: dict[str, Callable[[], Figures]] = {
        "load": lambda: load(stage, MANY),
        "import": lambda: core("imports", COUNT),
        "rtc": lambda: membership(stage, COUNT, TARGETS, rivals),
        "hold": lambda: hold(stage, MANY, HOSTS),
    }
    for title, work in parts.items():
        found = work()
        stage.progress(f"{title}: " + ", ".join(f"{key} {value:g}" for key, value in found.items()))
        figures |= found
    return figures
