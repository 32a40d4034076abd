"""`python -m benchmarks [NAME...]`: run benchmarks, print a table each, write benchmarks/results/NAME.json.

A benchmark is a module with `run(progress) -> Figures`; see benchmarks/report.py. Progress goes to stderr, tables to
stdout.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from benchmarks.report import Benchmark, Figures, machine, table, write
from runtime.errors import OperatorError

BENCHMARKS = {
    "datapath": "benchmarks.datapath",
    "agent": "benchmarks.agent",
    "bgp": "benchmarks.bgp",
    "ifmap": "benchmarks.ifmap",
    "gateway": "benchmarks.gateway",
    "scale": "benchmarks.scale",
}
"""Module by name, in the order in which all are run."""

RESULTS = Path(__file__).with_name("results")


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    """The command. Returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure, print a table, write JSON.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(BENCHMARKS)} (default: all)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for NAME.json (default: %(default)s)")
    options = parser.parse_args(argv)
    for name in options.names:
        if name not in BENCHMARKS:
            parser.error(f"there is no benchmark {name!r}; there are {', '.join(BENCHMARKS)}")
    code = 0
    for name in options.names or BENCHMARKS:
        benchmark: Benchmark = importlib.import_module(BENCHMARKS[name])
        _progress(f"{name}: begins")
        try:
            figures: Figures = benchmark.run(_progress)
        except OperatorError as error:
            _progress(f"{name}: {error}" + (f"\nhint: {error.hint}" if error.hint else ""))
            code = int(error.code)
            continue
        print(table(name, machine(), figures), flush=True)
        _progress(f"{name}: written to {write(options.results, name, figures)}")
    return code


if __name__ == "__main__":
    sys.exit(main())
