"""BIRD 2 in the foreground, asked by its control socket instead of with birdc."""

from __future__ import annotations

import re

from lab.errors import LabError
from lab.speakers.base import ESTABLISHED, Announcement, Neighbour, Received, Speaker, converse, plain

TABLES = {"vpnv4": ("vpn4", "vpntab4"), "vpnv6": ("vpn6", "vpntab6")}
"""BIRD's names of the family and of our table."""
ENCAPSULATION = 0x030C0000
"""First half of an encapsulation extended community; the second is the tunnel type (RFC 9012, 4.1)."""

_LAST = re.compile(rb"(?:\A|\n)\d{4} [^\n]*\n\Z")
_NET = re.compile(r"(?:(?P<rd>\S+) (?P<prefix>\S+))?\s+\w+ \[(?P<protocol>\S+) \S+(?: from (?P<peer>\S+))?\]")
_PROTOCOL = re.compile(r"(?P<name>\S+)\s+BGP\s+\S+\s+(?P<state>\S+)\s+\S+\s*(?P<info>.*)")
_TARGET = re.compile(r"\(rt, ([\w.]+), (\w+)\)")
_GENERIC = re.compile(r"\(generic, (0x[0-9a-f]+), (0x[0-9a-f]+)\)")


class Bird(Speaker):
    """See the module. A route reflector towards neighbours with client=True.

    Neighbours of another AS are sent what it has from others, but none of its announcements: BIRD 2.0 takes the label
    of its own routes for iBGP only. After its first start with graceful restart it starts as one that recovers (-R).
    """

    program = "bird"

    def argv(self) -> list[str]:
        """See Speaker."""
        return ["bird", "-f", "-c", str(self.config_file), "-s", str(self.directory / "bird.ctl")]

    def config(self) -> str:
        """See Speaker."""
        lines = [f'log "{self.log}" all;', f"router id {self.address};", "protocol device {}"]
        if any(neighbour.graceful_restart for neighbour in self.neighbours):
            lines.append("graceful restart wait 10;")
        for family, (kind, table) in TABLES.items():
            routes = [f"  {_route(route)}" for route in self.announcements if route.family == family]
            lines += [f"{kind} table {table};", f"protocol static static{kind} {{", f"  {kind} {{ table {table}; }};"]
            lines += [*routes, "}"]
        for number, neighbour in enumerate(self.neighbours):
            lines += [f"protocol bgp {_name(number)} {{"]
            lines += [f"  {line}" for line in (*self._session(neighbour), *self._families(neighbour))] + ["}"]
        return "\n".join([*lines, ""])

    def _session(self, neighbour: Neighbour) -> list[str]:
        lines = [
            f"local {self.own_address(neighbour)} port {self.port} as {self.asn};",
            "strict bind on;",
            f"neighbor {neighbour.address} port {neighbour.port} as {neighbour.asn};",
            f"hold time {neighbour.hold_time}; keepalive time {max(1, neighbour.hold_time // 3)};",
            f"connect retry time {neighbour.connect_retry}; connect delay time {neighbour.connect_retry};",
            "error wait time 1, 5; error forget time 1;",
        ]
        if neighbour.ttl_security is not None:
            lines.append(f"multihop {neighbour.ttl_security}; ttl security on;")
        else:
            lines.append("multihop;")
        if neighbour.password is not None:
            lines.append(f'password "{neighbour.password}";')
        if neighbour.passive:
            lines.append("passive on;")
        if neighbour.client:
            lines.append(f"rr client; rr cluster id {self.cluster_id};")
        if neighbour.graceful_restart:
            lines.append(f"graceful restart on; graceful restart time {neighbour.restart_time};")
        else:
            lines.append("graceful restart off;")
        return lines

    def _families(self, neighbour: Neighbour) -> list[str]:
        unknown = set(neighbour.families) - TABLES.keys()
        if unknown:
            raise ValueError(f"BIRD doesn't know the families {', '.join(sorted(unknown))}")
        options = "import all; export all;"
        if neighbour.asn != self.asn:
            options += " next hop keep;"
        if neighbour.max_prefixes is not None:
            options += f" receive limit {neighbour.max_prefixes} action disable;"
        # Without, it refuses IPv4-mapped next hops in VPNv6.
        extra = {"vpnv4": "", "vpnv6": " extended next hop on;"}
        chosen = [(*TABLES[family], extra[family]) for family in neighbour.families]
        return [f"{kind} mpls {{ table {table}; {options}{more} }};" for kind, table, more in chosen]

    def launch(self) -> None:
        """See Speaker."""
        super().launch()
        if any(neighbour.graceful_restart for neighbour in self.neighbours):
            self.daemon.argv = [*self.argv(), "-R"]

    def answers(self) -> bool:
        """See Speaker."""
        try:
            return bool(self.birdc("show status"))
        except OSError:
            return False

    def reload(self) -> None:
        """See Speaker."""
        self.birdc("configure")

    def birdc(self, command: str) -> str:
        """Run a command and return what it prints. Raises LabError when it is refused."""
        answer = converse(self.directory / "bird.ctl", [b"", command.encode() + b"\n"], _complete)[-1]
        lines = answer.decode(errors="replace").splitlines()
        # Codes from 8000 are errors. A line without a code has that of the line before it.
        if lines[-1][:1] in "89":
            raise LabError(f"{self.name}: bird refuses {command!r}", log=lines[-1])
        return "\n".join(line[1:] if line.startswith(" ") else line[5:] for line in lines)

    def protocol(self, address: str) -> str:
        """What the session with a neighbour is called."""
        addresses = [neighbour.address for neighbour in self.neighbours]
        return _name(addresses.index(address))

    def sessions(self) -> dict[str, str]:
        """See Speaker."""
        states = {}
        for line in self.birdc("show protocols").splitlines():
            if found := _PROTOCOL.match(line):
                word = (found["info"] or found["state"]).split()[0].lower()
                # It says so as well while it waits for the routes of the first table to be taken in.
                states[found["name"]] = word if word != ESTABLISHED or found["state"] == "up" else found["state"]
        return {n.address: states.get(_name(number), "unknown") for number, n in enumerate(self.neighbours)}

    def received(self, family: str) -> list[Received]:
        """See Speaker. BIRD doesn't say of a route that it is stale, but of a session that all of its routes are."""
        stale = {n.address for n in self.neighbours if "graceful restart active" in self.show_session(n.address)}
        text = self.birdc(f"show route all table {TABLES[family][1]}")
        found = [path for path in read_routes(text) if path.peer]
        return sorted(path._replace(stale=path.peer in stale) for path in found)

    def show_session(self, address: str) -> str:
        """What `show protocols all` says of the session with a neighbour."""
        return self.birdc(f"show protocols all {self.protocol(address)}")

    def counts(self, family: str) -> dict[str, int]:
        """See Speaker."""
        channel = re.compile(rf"Channel {TABLES[family][0]}-mpls\n.*?Routes: +(\d+) imported", re.DOTALL)
        found = {n.address: channel.search(self.show_session(n.address)) for n in self.neighbours}
        return {address: int(match[1]) for address, match in found.items() if match}


def read_routes(text: str) -> list[Received]:
    """Paths in what `show route all` prints; those that no peer sent have the peer ""."""
    found: list[Received] = []
    rd = prefix = ""
    for line in text.splitlines():
        if net := _NET.match(line):
            rd, prefix = net["rd"] or rd, net["prefix"] or prefix
            peer = plain(net["peer"]) if net["peer"] else ""
            found.append(Received(rd, prefix, None, (), "", False, peer, (), None, "", None, ()))
        elif found and line.startswith("\tBGP."):
            name, _, value = line[5:].partition(":")
            found[-1] = _with_attribute(found[-1], name, value.strip())
    return found


def _with_attribute(path: Received, name: str, value: str) -> Received:
    match name:
        case "next_hop":
            return path._replace(next_hop=plain(value.split()[0]))
        case "mpls_label_stack":
            return path._replace(label=int(value.split("/")[0].split()[0]))
        case "local_pref":
            return path._replace(local_pref=int(value))
        case "as_path":
            return path._replace(as_path=value)
        case "originator_id":
            return path._replace(originator=value)
        case "cluster_list":
            return path._replace(clusters=tuple(value.split()))
        case "ext_community":
            targets = (":".join(target) for target in _TARGET.findall(value))
            types = (int(low, 16) for high, low in _GENERIC.findall(value) if int(high, 16) == ENCAPSULATION)
            return path._replace(targets=tuple(sorted(targets)), encapsulations=tuple(sorted(types)))
        case _:
            return path


def _complete(end: bytes) -> bool:
    return bool(_LAST.search(end))


def _name(number: int) -> str:
    return f"peer{number}"


def _route(route: Announcement) -> str:
    # Next hop and label come from the gateway of the route: on iBGP, BIRD 2.0.12 takes the label stack from there only.
    next_hop = plain(route.next_hop)
    if route.family == "vpnv6" and ":" not in next_hop:
        next_hop = f"::ffff:{next_hop}"
    communities = [f"(rt, {', '.join(target.split(':'))})" for target in route.targets]
    communities += [f"(generic, {ENCAPSULATION:#x}, {kind})" for kind in route.encapsulations]
    added = " ".join(f"bgp_ext_community.add({community});" for community in communities)
    return f"route {route.rd} {route.prefix} via {next_hop}%lo onlink mpls {route.label} {{ {added} }};"
