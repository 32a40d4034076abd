"""Who waits for whom while a gateway's tables are filled: 1,000,000 routes come from a BGP peer into 100 VPNs, with 100
hosts subscribed, and go to another peer; later the first peer is lost, and all of them are withdrawn.

python -m benchmarks.gateway_fairness [ROUTES]    prints JSON

    fairness_gap_s              longest time without a sign of life to a BGP peer; a keepalive is due every 3 s
    fairness_sessions_lost      of peers (hold time 9 s) and hosts
    fairness_ping_longest_s     until the answer to a host that is asking all the time, while it is told 10,000 routes
    fairness_login_longest_s    of a host that logs in and subscribes again and again
    fairness_command_longest_s  of an operator's command
    fairness_routes_to_hosts    items that the hosts were told
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from benchmarks.bgp import MANY, VPNS, Stage, hold
from benchmarks.bgp_scenarios import Figures
from benchmarks.report import Progress
from lab.errors import LabError


def measure(progress: Progress, count: int = MANY) -> Figures:
    """See the module. Raises LabError."""
    with tempfile.TemporaryDirectory(prefix="vrfwire-bench-") as directory:
        Path(directory).chmod(0o755)
        found = hold(Stage(Path(directory), progress), count, VPNS, VPNS, newcomer=True)
    return {f"fairness_{name.removeprefix('hold_')}": value for name, value in found.items()}


def main(arguments: list[str]) -> int:
    """The command."""
    try:
        figures = measure(lambda text: print(text, file=sys.stderr), int(arguments[0]) if arguments else MANY)
    except LabError as error:
        print(f"{error}\n{error.log}", file=sys.stderr)
        return 1
    print(json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
