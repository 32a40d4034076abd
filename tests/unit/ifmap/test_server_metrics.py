"""What the map server measures is what docs/metrics.md tells, all of it."""

from __future__ import annotations

import re
from pathlib import Path

from ifmap.server.metrics import MAP_METRICS

DOCUMENT = Path(__file__).parents[3] / "docs/metrics.md"


def test_every_metric_is_documented_and_no_other() -> None:
    _, heading, part = DOCUMENT.read_text().partition("\n## The MAP server\n")
    assert heading
    part, heading, _ = part.partition("\n## The agent of a host\n")
    assert heading
    rows = re.findall(r"^\| `(vrfwire_\w+)` \| (\w+) \| (.*?) \| (.*) \|$", part, re.MULTILINE)
    expected = [
        (name, kind, ", ".join(f"`{label}`" for label in labels) or "-", text)
        for name, kind, labels, text in MAP_METRICS
    ]
    assert rows == expected


def test_names_follow_the_rules() -> None:
    for name, kind, labels, text in MAP_METRICS:
        assert name.startswith("vrfwire_map_"), name
        assert name.endswith("_total") == (kind == "counter"), name
        assert text, name
        assert not {"client", "identifier", "type"} & set(labels), name
    assert len({metric.name for metric in MAP_METRICS}) == len(MAP_METRICS)
