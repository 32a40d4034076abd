"""Doctor: whether a firewall of this host stops tunnel packets, or those of VMs. Pure, over rulesets that were read.

A heuristic, and said to be so: rules are read one by one, sets and marks aren't followed. A chain is suspected when it
refuses what no rule of it accepts, and no rule of its table accepts GRE (IP protocol 47); or when a rule names GRE and
refuses it. Packets that a label delivers to a VM pass no IP hook.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runtime.findings import Finding, good, unknown, warning

CHECK = "firewall"
_GRE = {"gre", "47", 47}
_REFUSALS = {"drop", "reject"}
_FAMILIES = {"ip", "inet"}
_PROTOCOL_KEYS = {"protocol", "l4proto"}
_SEEN = "as far as can be seen"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. verdict: "accept", "drop", "reject", or "" for anything else; protocols: those it is about, None for
    all; devices: those that packets come in by, None for all; narrow: whether it asks for more than that."""

    verdict: str
    protocols: frozenset[object] | None = None
    devices: frozenset[str] | None = None
    narrow: bool = False
    established: bool = False
    """It is about packets of known connections alone."""

    def concerns(self, device: str) -> bool:
        """Whether packets that come in by a device may be meant."""
        return self.devices is None or device in self.devices

    @property
    def gre(self) -> bool | None:
        """Whether GRE is meant: by name (True), among all (None), or not (False)."""
        return None if self.protocols is None else bool(self.protocols & _GRE)


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain. name: as an operator finds it; hook: "input", "forward", ... or "" for one that others jump to; policy:
    of a base chain; rules: in order."""

    table: str
    name: str
    hook: str
    policy: str
    rules: tuple[Rule, ...]

    @property
    def refuses(self) -> bool:
        """Whether it refuses what none of its rules accepts."""
        return self.policy == "drop" or any(
            rule.verdict in _REFUSALS and not rule.narrow and rule.protocols is None and rule.devices is None
            for rule in self.rules
        )


@dataclass(frozen=True, slots=True)
class Firewall:
    """What could be read. chains: of nftables and iptables; unread: why a program's rules couldn't be read, and what to
    do about that; device: that the underlay's packets come in by, "" if unknown."""

    chains: tuple[Chain, ...]
    unread: tuple[tuple[str, str], ...] = ()
    device: str = ""


def check_firewall(facts: Firewall) -> Iterator[Finding]:
    """GRE from other hosts, and what VMs send."""
    wrong = False
    for chain in facts.chains:
        if chain.hook == "input" and (why := _stops_gre(chain, facts)) is not None:
            wrong = True
            yield warning(CHECK, f"{chain.name} {why}, {_SEEN}", _remedy(chain, "input"))
        elif chain.hook == "forward" and chain.refuses and not _lets_vms(chain, facts.chains):
            wrong = True
            detail = f"{chain.name} refuses forwarded packets, and no rule lets vw-* pass, {_SEEN}"
            yield warning(CHECK, f"{detail}: what VMs send would be lost", _remedy(chain, "forward"))
    for why, hint in facts.unread:
        wrong = True
        yield unknown(CHECK, why, hint)
    if not wrong:
        yield good(CHECK, f"lets GRE in, {_SEEN}" if facts.chains else "has no rules")


def _stops_gre(chain: Chain, facts: Firewall) -> str | None:
    for rule in chain.rules:
        if not rule.concerns(facts.device) or rule.established:
            continue
        if rule.verdict == "accept" and rule.gre is not False and not rule.narrow:
            return None
        if rule.verdict in _REFUSALS and rule.gre:
            return "has a rule that refuses GRE"
        if rule.verdict == "accept" and rule.gre:
            return None  # from some hosts: whether from all of ours isn't seen here
    if not chain.refuses:
        return None
    others = (other for other in facts.chains if other.table == chain.table and other.hook in ("", chain.hook))
    accepts = any(
        rule.verdict == "accept" and rule.gre is not False and not rule.established and rule.concerns(facts.device)
        for other in others
        for rule in other.rules
    )
    return None if accepts else "refuses packets, and no rule accepts GRE"


def _lets_vms(chain: Chain, chains: Sequence[Chain]) -> bool:
    """Whether some rule accepts forwarded packets, of our devices or of all."""
    others = (other for other in chains if other.table == chain.table and other.hook in ("", "forward"))
    return any(
        rule.verdict == "accept"
        and not rule.established
        and rule.protocols is None
        and (any(name.startswith("vw-") for name in rule.devices) if rule.devices is not None else not rule.narrow)
        for other in others
        for rule in other.rules
    )


def _remedy(chain: Chain, hook: str) -> str:
    tool, family, table, name = chain.name.split(" ", 3)
    if tool == "iptables":
        what = "-p gre" if hook == "input" else "-i vw-+"
        return f"if so: iptables -I {name} {what} -j ACCEPT"
    what = "meta l4proto gre" if hook == "input" else 'iifname "vw-*"'
    return f"if so: nft insert rule {family} {table} {name} {what} accept"


# -- nftables


def parse_nft(text: str) -> tuple[Chain, ...]:
    """The chains of IPv4 in what `nft --json list ruleset` prints. Raises ValueError for anything else."""
    document = json.loads(text)
    entries = document.get("nftables") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError("not a ruleset")
    rules: dict[tuple[str, str, str], list[Rule]] = {}
    chains: list[Mapping[str, Any]] = []
    for entry in entries:
        chain, rule = (entry.get(kind) if isinstance(entry, dict) else None for kind in ("chain", "rule"))
        if isinstance(chain, dict) and chain.get("family") in _FAMILIES:
            chains.append(chain)
        elif isinstance(rule, dict) and rule.get("family") in _FAMILIES:
            place = (str(rule.get("family")), str(rule.get("table")), str(rule.get("chain")))
            rules.setdefault(place, []).append(_nft_rule(rule.get("expr")))
    found = []
    for chain in chains:
        place = (str(chain.get("family")), str(chain.get("table")), str(chain.get("name")))
        found.append(
            Chain(
                f"nft {place[0]} {place[1]}",
                f"nft {' '.join(place)}",
                str(chain.get("hook", "")) if chain.get("type") == "filter" else "",
                str(chain.get("policy", "")),
                tuple(rules.get(place, ())),
            )
        )
    return tuple(found)


def _nft_rule(expressions: object) -> Rule:
    verdict, narrow, established = "", False, False
    protocols: frozenset[object] | None = None
    devices: frozenset[str] | None = None
    for expression in expressions if isinstance(expressions, list) else ():
        if not isinstance(expression, dict):
            continue
        verdict = next((word for word in ("accept", *_REFUSALS) if word in expression), verdict)
        match = expression.get("match")
        if not isinstance(match, dict):
            narrow = narrow or "xt" in expression or "vmap" in expression
            continue
        key, right, equal = (
            _nft_left(match.get("left")),
            _nft_right(match.get("right")),
            match.get("op") in ("==", "in"),
        )
        if key in _PROTOCOL_KEYS and equal:
            protocols = right
        elif key in ("iifname", "iif") and equal:
            devices = frozenset(map(str, right))
        elif key == "state":
            established, narrow = established or "new" not in right, True
        else:
            narrow = True
    return Rule(verdict, protocols, devices, narrow, established)


def _nft_left(left: object) -> str:
    """The field that is compared: "l4proto", "protocol", "iifname", "state", ..."""
    if not isinstance(left, dict):
        return ""
    inner = next(iter(left.values()), None)
    if not isinstance(inner, dict):
        return ""
    if "payload" in left:
        return str(inner.get("field", "")) if inner.get("protocol") == "ip" else ""
    return str(inner.get("key", ""))


def _nft_right(right: object) -> frozenset[object]:
    if isinstance(right, dict):
        right = right.get("set", [])
    values = right if isinstance(right, list) else [right]
    return frozenset(value for value in values if isinstance(value, str | int))


# -- iptables

_POLICY = re.compile(r":(\S+) (\S+)")
_HOOKS = {"INPUT": "input", "FORWARD": "forward"}
_HARMLESS = {"-m", "--match", "-j", "--jump", "--reject-with", "--comment", "-A", "-p", "--protocol", "-i"}
"""Options that make no rule narrower, or are read by themselves."""


def parse_iptables(text: str) -> tuple[Chain, ...]:
    """The chains of table "filter" in what `iptables-save` prints."""
    policies: dict[str, str] = {}
    rules: dict[str, list[Rule]] = {}
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif table == "filter" and (found := _POLICY.match(line)):
            policies[found[1]] = found[2].lower()
            rules[found[1]] = []
        elif table == "filter" and line.startswith("-A "):
            words = _words(line)
            rules.setdefault(words[1], []).append(_iptables_rule(words))
    return tuple(
        Chain("iptables filter", f"iptables ip filter {name}", _HOOKS.get(name, ""), policy, tuple(rules[name]))
        for name, policy in policies.items()
    )


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def _iptables_rule(words: Sequence[str]) -> Rule:
    options = dict(_options(words))
    verdict = options.get("-j", "").lower()
    states = options.get("--ctstate", options.get("--state", "NEW"))
    protocol, device = options.get("-p"), options.get("-i")
    return Rule(
        verdict if verdict in ("accept", *_REFUSALS) else "",
        None if protocol in (None, "all") else frozenset({protocol}),
        None if device is None else frozenset({device}),
        bool(options.keys() - _HARMLESS),
        "NEW" not in states,
    )


def _options(words: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Options with their values; "!" makes another option of the one that follows."""
    name, values, negated = "", list[str](), False
    for word in words:
        if word == "!":
            negated = True
        elif word.startswith("-"):
            if name:
                yield name, " ".join(values)
            name, values, negated = (f"! {word}" if negated else word), [], False
        else:
            values.append(word)
    if name:
        yield name, " ".join(values)
