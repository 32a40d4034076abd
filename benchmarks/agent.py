"""The agent on a host: attaching ports, first packets, memory, a large table.

Measured in the lab (benchmarks/agent_lab.py): on this kernel where it has VRF, MPLS and GRE, else in user-mode Linux,
where every system call costs some 80 us and all daemons share one CPU: times there are more than a host needs.

    attach           200 taps in a row, from the call on the control socket to "everything is in the kernel"
    attach_with_cli  the same with a process of `vrfwire port attach` each
    attach_veth      interfaces of VMs in namespaces, whose inner end is configured too
    first_reply      from the call until a VM on another host has a reply of the new one, signaling included
    rest             with 100 ports, nothing to do and nobody who asks: wake-ups, those that keepalives need, CPU
    foreign          30,000 routes of another program come, change and go, and devices flap: what it costs the agent
    repair           what a third party breaks: from the start of its command until the VM is reached again
    lost             packets lost, of 1,000 a second both ways and in both families, while a daemon restarts, dies or
                     hangs; and of TCP streams: how long they stood still (tcp_stalled), segments lost (tcp_sent_again)
    flap_back        an underlay that is away for 3 s: from its return until the last packet was sent that is lost
    routes           a VPN of 100,000 routes is joined, while the agent is asked (busy_question) and ports are attached
    rss_mib          resident memory of the daemon
    intake           a route that a gateway announces, from the bytes on (benchmarks/agent_intake.py); not in the lab
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from benchmarks.agent_intake import measure
from benchmarks.report import Figures, Progress
from lab import environment
from lab.environment import Job
from lab.errors import LabError
from runtime.errors import OperatorError

MEMORY = 3000
"""MiB of a user-mode Linux; what isn't used isn't taken."""
TIMEOUT = 900.0
"""Seconds for everything."""


def run(progress: Progress) -> Figures:
    """See benchmarks.report.Benchmark."""
    where = environment.choose()
    progress("agent: in a lab on this kernel" if where == "native" else "agent: in user-mode Linux")
    with tempfile.TemporaryDirectory(prefix="vrfwire-bench-") as directory:
        result = Path(directory) / "figures.json"
        job = Job([sys.executable, "-m", "benchmarks.agent_lab", str(result)], timeout=TIMEOUT, memory=MEMORY)
        try:
            status = environment.run(job, where)
        except LabError as error:
            raise OperatorError("agent benchmark", str(error), error.hint) from error
        if status != 0:
            raise OperatorError("agent benchmark", f"ended with status {status}", "what it said is above")
        figures: dict[str, float | int | str] = json.loads(result.read_text(encoding="utf-8"))
    return {"lab": where, **figures, **measure(progress)}
