"""docs/alerts.yml: rules that Prometheus takes, of metrics that the daemons have.

Prometheus' own checker isn't there; of YAML and PromQL this reads what the file uses, and nothing else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import pytest

from tests import guide

ALERTS = (guide.ROOT / "docs/alerts.yml").read_text()
METRICS = {
    name: (kind, set(re.findall(r"`(\w+)`", labels)))
    for name, kind, labels in re.findall(
        r"^\| `(vrfwire_\w+)` \| (\w+) \| (.*?) \|", (guide.ROOT / "docs/metrics.md").read_text(), re.MULTILINE
    )
}
"""Type and labels by name, as documented; tests hold the daemons to it."""
OF_PROMETHEUS = {"job", "instance"}
LINE = re.compile(
    r"groups:|  - name: (?P<group>[\w-]+)|    rules:|      - alert: (?P<alert>[A-Z]\w*)"
    r"|        expr: (?P<expr>\S.*)|        for: (?P<wait>\d+[smhd])"
)
TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?(?:e\d+)?)(?![\w])|(?P<name>[a-z_]\w*)|(?P<text>\"[^\"]*\")|(?P<range>\[\d+[smhd]\])"
    r"|(?P<sign>=~|!~|!=|==|<=|>=|[-+*/<>(){},=]))"
)
LEVELS = (("or",), ("and", "unless"), ("==", "!=", "<=", ">=", "<", ">"), ("+", "-"), ("*", "/"))
AGGREGATIONS = {"max", "min", "sum", "count", "avg"}
OF_RANGES = {"rate", "increase"}


@dataclass
class Rule:
    """An alert as the file has it."""

    alert: str
    said: str
    expr: str = ""
    wait: str = ""


def rules(text: str) -> list[Rule]:
    """Raises ValueError for a line that isn't of this form."""
    found: list[Rule] = []
    said = ""
    for line in text.splitlines():
        if line.lstrip().startswith("#"):
            said = line.strip("# ")
            continue
        match = LINE.fullmatch(line)
        if match is None:
            raise ValueError(line)
        if match["alert"]:
            found.append(Rule(match["alert"], said))
            said = ""
        elif match["expr"]:
            found[-1].expr = match["expr"]
        elif match["wait"]:
            found[-1].wait = match["wait"]
    return found


@dataclass
class Expression:
    """A PromQL expression, read from left to right; ValueError for what isn't one."""

    text: str
    tokens: list[str] = field(default_factory=list)
    metrics: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        position = 0
        while position < len(self.text):
            match = TOKEN.match(self.text, position)
            if match is None:
                raise ValueError(self.text[position:])
            self.tokens.append(match[0].strip())
            position = match.end()
        self._binary(0)
        if self.tokens:
            raise ValueError(f"{self.tokens[0]} is too much")

    def _next(self, wanted: str = "") -> str:
        if not self.tokens or (wanted and self.tokens[0] != wanted):
            raise ValueError(f"{wanted or 'more'} expected before {self.tokens[:1]}")
        return self.tokens.pop(0)

    def _at(self, *tokens: str) -> bool:
        return bool(self.tokens) and self.tokens[0] in tokens

    def _binary(self, level: int) -> None:
        if level == len(LEVELS):
            return self._operand()
        self._binary(level + 1)
        while self._at(*LEVELS[level]):
            self._next()
            self._binary(level + 1)
        return None

    def _operand(self) -> None:
        token = self._next()
        if token == "(":
            self._binary(0)
            self._next(")")
        elif token in AGGREGATIONS:
            if self._at("by"):
                self._next()
                self._list()
            self._next("(")
            self._binary(0)
            self._next(")")
        elif re.fullmatch(r"[a-z_]\w*", token) and self._at("("):
            self._next()
            if not self._at(")"):
                self._argument(token)
                while self._at(","):
                    self._next()
                    self._argument(token)
            self._next(")")
        elif re.fullmatch(r"[a-z_]\w*", token):
            self._selector(token)
        elif not re.fullmatch(r"[\d.e]+", token):
            raise ValueError(f"{token} isn't an operand")

    def _argument(self, function: str) -> None:
        self._binary(0)
        ranged = bool(self.tokens) and self.tokens[0].startswith("[")
        if ranged != (function in OF_RANGES):
            raise ValueError(f"{function} of a range: {ranged}")
        if ranged:
            self._next()

    def _list(self) -> None:
        self._next("(")
        while not self._at(")"):
            if self._next() not in OF_PROMETHEUS:
                raise ValueError("a label that is no target's")
            if self._at(","):
                self._next()
        self._next(")")

    def _selector(self, name: str) -> None:
        of = name.removesuffix("_bucket")
        if of not in METRICS or (of != name and METRICS[of][0] != "histogram"):
            raise ValueError(f"no metric {name}")
        self.metrics.add(of)
        if not self._at("{"):
            return
        self._next()
        while not self._at("}"):
            label = self._next()
            if label not in METRICS[of][1]:
                raise ValueError(f"{name} has no label {label}")
            if self._next() not in ("=", "!=", "=~", "!~") or not self._next().startswith('"'):
                raise ValueError(f"how {label} is to be")
            if self._at(","):
                self._next()
        self._next("}")


def test_every_rule_is_one_with_a_reason() -> None:
    found = rules(ALERTS)
    assert len(found) > 20 and len({rule.alert for rule in found}) == len(found)
    assert [rule.alert for rule in found if not rule.expr] == []
    # What has no comment of its own belongs to the one before.
    assert [rule.alert for rule in found if not rule.said] == ["PortsRefused"]


@pytest.mark.parametrize("rule", rules(ALERTS), ids=lambda rule: rule.alert)
def test_expression_is_of_metrics_that_there_are(rule: Rule) -> None:
    expression = Expression(rule.expr)
    assert expression.metrics
    counters = [name for name in expression.metrics if METRICS[name][0] == "counter"]
    assert not counters or any(f"{function}({name}" in rule.expr for function in OF_RANGES for name in counters)


def test_values_of_labels_are_the_daemons() -> None:
    for rule in rules(ALERTS):
        for name, values in re.findall(r"(\w+)\{\w+=~?\"([\w|]+)\"\}", rule.expr):
            assert all(f"`{value}`" in document_row(name) for value in values.split("|")), name


def document_row(name: str) -> str:
    """The row of a metric."""
    (row,) = re.findall(rf"^\| `{name}` \|.*$", (guide.ROOT / "docs/metrics.md").read_text(), re.MULTILINE)
    return str(row)


def test_what_the_guide_names_is_there() -> None:
    page = (guide.ROOT / "docs/operations.md").read_text()
    table = page[page.index("| rule |") : page.index("## Logs")]
    named = set(re.findall(r"`([A-Z]\w+)`", table))
    assert len(named) > 8 and named <= {rule.alert for rule in rules(ALERTS)}


@pytest.mark.parametrize(
    "wrong",
    [
        "vrfwire_agent_no_such > 0",
        "vrfwire_agent_ports{colour='red'} > 0",
        'vrfwire_agent_ports{colour="red"} > 0',
        "rate(vrfwire_agent_repairs_total) > 0",
        "vrfwire_agent_drained[5m] > 0",
        "vrfwire_agent_drained ==",
        "max by (job) vrfwire_agent_drained",
        "(vrfwire_agent_drained > 0",
        "vrfwire_agent_drained > 0)",
        "vrfwire_agent_drained 1",
        "vrfwire_agent_drained_bucket > 0",
    ],
)
def test_mistakes_are_found(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Expression(wrong)


def test_other_yaml_is_found() -> None:
    with pytest.raises(ValueError, match="severity"):
        rules("groups:\n  - name: x\n    rules:\n      - alert: Y\n        severity: page")
