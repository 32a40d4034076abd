"""What a benchmark is, and how its figures are printed and stored."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

Figures = Mapping[str, float | int | str]
"""Results by name; the unit is in the name ("_s" seconds, "_ms", "_mb" MiB, "_per_s"), or it is a ratio or a count."""

Progress = Callable[[str], None]
"""Takes one line about what is being done."""


class Benchmark(Protocol):
    """A module in benchmarks/."""

    def run(self, progress: Progress) -> Figures:
        """Measure. Comparisons are made within the run and given as ratios. Raises OperatorError when the machine can't
        run it."""
        ...


def machine() -> str:
    """The machine, in one line."""
    model = ""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    cpus = len(os.sched_getaffinity(0))
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    return f"{system}, {cpus} x {model or 'unknown processor'}, Python {platform.python_version()}"


def table(name: str, where: str, figures: Figures) -> str:
    """A table for people."""
    width = max((len(key) for key in figures), default=0)
    lines = [f"{name} ({where})"]
    for key, value in figures.items():
        text = value if isinstance(value, str) else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
        lines.append(f"  {key:<{width}}  {text:>12}")
    return "\n".join(lines)


def write(folder: Path, name: str, figures: Figures) -> Path:
    """Store as NAME.json; returns the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    document = {"name": name, "machine": machine(), "figures": dict(figures)}
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return path
