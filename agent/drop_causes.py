"""Every way in which a packet can be lost on a host, as far as Linux counts it: a stable name, the cause in words, what
to do next, and where the number comes from. Pure; agent/drops.py puts it together with a host's numbers.

Names are for programs too and don't change. They begin with the place: port (a VM's interface), vrf, tunnel, underlay
(the device with the underlay address), host (the machine, or its network namespace).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from datapath.filters import (
    PRIORITY_ARP,
    PRIORITY_DROP,
    PRIORITY_OTHER_ND,
    PRIORITY_PROTOCOL,
    PRIORITY_SOLICITATION,
    PRIORITY_SOURCE,
    PRIORITY_TAGGED,
    PRIORITY_TAGGED_TWICE,
)


class Cause(NamedTuple):
    """One counter. sources: names of the kernel's numbers that are added up; usual: whether some of it is to be
    expected and no sign of trouble."""

    name: str
    sources: tuple[str, ...]
    cause: str
    hint: str
    usual: bool = False


def _cause(name: str, sources: str, cause: str, hint: str, *, usual: bool = False) -> Cause:
    return Cause(name, tuple(sources.split()), cause, hint, usual)


_ADDRESSES = "give the VM the addresses that `vrfwire port show NAME` lists, or attach it with those that it has"
_NOTHING = "nothing to do, unless it grows fast"
_MTU = "set the MTU that `vrfwire port show NAME` prints in the VM, and let ICMP through there"

FILTERS: Final[Mapping[tuple[int, int | None], Cause]] = {
    (PRIORITY_SOURCE, 1): _cause(
        "port-spoofed-ipv4", "filter", "the VM sent IPv4 from an address that is not its own", _ADDRESSES
    ),
    (PRIORITY_SOURCE, 2): _cause(
        "port-spoofed-ipv6",
        "filter",
        "the VM sent IPv6 from an address that is not its own, or from a link-local one",
        _ADDRESSES,
    ),
    (PRIORITY_SOURCE, 3): _cause(
        "port-foreign-arp",
        "filter",
        "the VM sent ARP for an address that is not its own, or an address probe",
        f"a few at the start of a VM are probes; else {_ADDRESSES}",
        usual=True,
    ),
    (PRIORITY_ARP, None): _cause(
        "port-arp-announcement",
        "filter",
        "the VM announced its own address by ARP, or answered a question; nobody needs that",
        _NOTHING,
        usual=True,
    ),
    (PRIORITY_SOLICITATION, None): _cause(
        "port-nd-probe",
        "filter",
        "the VM looked for another one with its IPv6 address (duplicate address detection); there is none",
        _NOTHING,
        usual=True,
    ),
    (PRIORITY_OTHER_ND, None): _cause(
        "port-nd-other",
        "filter",
        "the VM sent router solicitations or advertisements, neighbour advertisements, redirects or MLD reports",
        "nothing to do; in the VM, configure addresses and the default route statically",
        usual=True,
    ),
    (PRIORITY_TAGGED, None): _cause(
        "port-tagged", "filter", "the VM sent frames with a VLAN tag", "attach untagged interfaces of the VM only"
    ),
    (PRIORITY_TAGGED_TWICE, None): _cause(
        "port-tagged-twice",
        "filter",
        "the VM sent frames with a service VLAN tag (802.1ad)",
        "attach untagged interfaces of the VM only",
    ),
    (PRIORITY_PROTOCOL, None): _cause(
        "port-other-protocol",
        "filter",
        "the VM sent frames that are no IPv4, IPv6 or ARP (LLDP, STP, ...)",
        "switch it off in the VM if it is a lot; VPNs carry IP only",
        usual=True,
    ),
    (PRIORITY_DROP, None): _cause(
        "port-spoofed-mac",
        "filter",
        "frames came with a source MAC that is not the VM's",
        "give the VM the MAC that `vrfwire port show NAME` prints, or attach it with --mac; VMs within it need ports of"
        " their own",
    ),
}
"""What the filters of a port drop, by priority and handle (datapath/filters.py); None: any handle."""

PORT: Final = (
    _cause(
        "port-not-read",
        "link.tx_dropped",
        "packets for the VM found its interface full, or nobody had it open",
        "is the VM running and its network driver loaded? a VM that is too slow needs more queues or processors",
    ),
    _cause(
        "port-queue-full",
        "queue",
        "the queue in front of the VM's interface was full",
        "the VM reads slower than packets come; see `tc -s qdisc show dev DEVICE` for a limit that is set there",
    ),
    _cause(
        "port-no-carrier",
        "mpls.tx_errors mpls.tx_dropped",
        "packets from other hosts came for a VM whose interface has no carrier",
        "start the VM, or detach the port: `vrfwire port detach NAME`",
    ),
    _cause(
        "port-send-error", "link.tx_errors", "the VM's interface failed to take packets", "see the hypervisor's log"
    ),
    _cause(
        "port-receive-dropped",
        "link.rx_dropped",
        "the host had no room for what the VM sent, or no use for it",
        "is the host short of processor time? see host-backlog-full",
    ),
    _cause(
        "port-receive-error",
        "link.rx_errors",
        "the VM sent frames that are malformed",
        "look at offloads and the network driver of the VM",
    ),
    _cause(
        "port-ipv6-no-route",
        "ip6.InNoRoutes",
        "the VM sent IPv6 to an address that its VPN has no route to",
        "`vrfwire route explain ADDRESS --vpn VPN` says why",
    ),
    _cause(
        "port-ipv6-too-big",
        "ip6.InTooBigErrors",
        "the VM sent IPv6 packets that are larger than the path takes; it is told each time",
        _MTU,
        usual=True,
    ),
    _cause(
        "port-ipv6-hop-limit",
        "ip6.InHdrErrors",
        "IPv6 packets of the VM had a malformed header, or a hop limit that ended here (traceroute)",
        "nothing to do for a traceroute; else look for a loop in the VPN",
        usual=True,
    ),
    _cause(
        "port-ipv6-discarded",
        "ip6.InDiscards ip6.OutDiscards ip6.InAddrErrors ip6.InTruncatedPkts",
        "the host discarded IPv6 packets of the VM",
        "`nstat -az 'Ip6*'` tells which; is the host short of memory?",
    ),
)

VRF: Final = (
    _cause(
        "vrf-dropped",
        "link.tx_dropped link.tx_errors link.rx_dropped link.rx_errors",
        "the host itself sent into the VPN and there was no route or no memory",
        "`vrfwire route explain ADDRESS --vpn VPN` says why",
    ),
    _cause(
        "vrf-ipv6-no-route",
        "ip6.InNoRoutes ip6.OutNoRoutes",
        "IPv6 in the VPN had no route",
        "`vrfwire route explain ADDRESS --vpn VPN` says why",
    ),
)

TUNNEL: Final = (
    _cause(
        "tunnel-unknown-label",
        "mpls.rx_noroute",
        "packets came with a label that no port here has",
        "a few come after a detach; else a gateway or PE has a route that is gone here: `vrfwire port list` has the"
        " labels, `vrfwire-gateway-ctl route list` what is announced",
        usual=True,
    ),
    _cause(
        "tunnel-label-error",
        "mpls.rx_errors",
        "labelled packets came with a TTL that ended here, malformed, or for a port that can't take them",
        "see port-no-carrier of the ports; else look for a loop between PE routers",
    ),
    _cause(
        "tunnel-label-refused",
        "mpls.rx_dropped",
        "labelled packets came while the tunnel didn't take any",
        "`sysctl net.mpls.conf.vw-gre.input` is to be 1; the agent repairs it, `vrfwire doctor` looks",
    ),
    _cause(
        "tunnel-too-big",
        "mpls.tx_errors",
        "packets were larger than the underlay takes with a label",
        _MTU,
        usual=True,
    ),
    _cause(
        "tunnel-no-underlay-route",
        "link.tx_carrier_errors",
        "there was no route on the underlay to another host",
        "`ip route get ADDRESS` for the host that `vrfwire route list` names; `vrfwire doctor` checks all of them",
    ),
    _cause(
        "tunnel-no-neighbour",
        "link.tx_fifo_errors",
        "packets for the tunnel had no remote host",
        "`vrfwire object list --kind neighbour` shows them; the agent repairs what others delete",
    ),
    _cause(
        "tunnel-loop",
        "link.collisions",
        "the route to another host's underlay address leads into the tunnel itself",
        "put the underlay's routes right: `ip route get ADDRESS`",
    ),
    _cause(
        "tunnel-send-dropped",
        "link.tx_dropped link.tx_aborted_errors queue",
        "the tunnel dropped packets on their way out",
        "`ip -s -s link show vw-gre` tells more; is there a queueing discipline on it that isn't vrfwire's?",
    ),
    _cause(
        "tunnel-receive-error",
        "link.rx_errors link.rx_dropped",
        "GRE packets came malformed: checksum, sequence number or length",
        "who sends GRE to this host and isn't vrfwire or a PE router? capture: tcpdump -i any ip proto 47",
    ),
)

UNDERLAY: Final = (
    _cause(
        "underlay-receive-full",
        "link.rx_missed_errors link.rx_over_errors link.rx_fifo_errors",
        "the network card had no room for packets that came",
        "more or larger receive rings: ethtool -g, ethtool -G; more processors: ethtool -l",
    ),
    _cause(
        "underlay-receive-dropped",
        "link.rx_dropped",
        "packets of the underlay were dropped: of unknown protocols, or for lack of room",
        "unknown protocols (LLDP, STP) count here and do no harm; compare with the growth of host-backlog-full",
        usual=True,
    ),
    _cause(
        "underlay-receive-error",
        "link.rx_crc_errors link.rx_frame_errors link.rx_length_errors",
        "frames came damaged",
        "a cable, a transceiver or a switch port: ethtool -S tells more",
    ),
    _cause(
        "underlay-send-dropped",
        "link.tx_dropped queue",
        "the underlay's device had a full queue",
        "the underlay has less capacity than the VMs send; `tc -s qdisc show dev DEVICE`",
    ),
    _cause(
        "underlay-send-error",
        "link.tx_errors",
        "the underlay's device failed to send",
        "ethtool -S DEVICE, and its driver's log",
    ),
)

HOST: Final = (
    _cause(
        "host-ipv4-unreachable",
        "Icmp.OutDestUnreachs",
        "IPv4 packets were answered with ICMP unreachable: a VPN had no route, or they were larger than the path takes",
        "`vrfwire route explain ADDRESS --vpn VPN` for what VMs look for; Linux limits these answers, so there may have"
        " been more",
        usual=True,
    ),
    _cause(
        "host-ipv4-too-big",
        "Ip.FragFails",
        "IPv4 packets that may not be fragmented were larger than the path takes; their sender is told",
        _MTU,
        usual=True,
    ),
    _cause(
        "host-ipv4-no-route",
        "IpExt.InNoRoutes Ip.OutNoRoutes",
        "IPv4 packets had no route in a table that ends without one: not in a VPN",
        "is there a default route on the underlay? `ip route`",
        usual=True,
    ),
    _cause(
        "host-ipv4-ttl",
        "Ip.InHdrErrors",
        "IPv4 packets had a malformed header, or a TTL that ended here (traceroute)",
        "nothing to do for a traceroute; else look for a loop in the VPN",
        usual=True,
    ),
    _cause(
        "host-ipv4-address",
        "Ip.InAddrErrors",
        "IPv4 packets came by a device that doesn't forward, or with an address that is none",
        "`vrfwire doctor` checks forwarding and reverse path filters",
    ),
    _cause(
        "host-reverse-path",
        "TcpExt.IPReversePathFilter",
        "IPv4 packets came from an address whose way back leads elsewhere",
        "set net.ipv4.conf.all.rp_filter to 0: strict filters can't work with VPNs; vrfwire has filters of its own",
    ),
    _cause(
        "host-ipv4-discarded",
        "Ip.InDiscards Ip.OutDiscards IpExt.InTruncatedPkts IpExt.InCsumErrors",
        "the host discarded IPv4 packets: no memory, a firewall, a packet that was cut short or damaged",
        "`nstat -az 'Ip*'` tells which; look for rules of a firewall: nft list ruleset",
    ),
    _cause(
        "host-ipv4-reassembly",
        "Ip.ReasmFails",
        "IPv4 fragments for the host couldn't be put together",
        "fragments of GRE come from hosts whose underlay has a smaller MTU: `vrfwire doctor` compares them",
    ),
    _cause(
        "host-ipv6-no-route",
        "Ip6InNoRoutes Ip6OutNoRoutes",
        "IPv6 packets elsewhere on the host had no route",
        "not of a VM here, whose packets are counted with its port",
        usual=True,
    ),
    _cause(
        "host-ipv6-discarded",
        "Ip6InDiscards Ip6OutDiscards Ip6InHdrErrors Ip6InAddrErrors Ip6InTruncatedPkts Ip6InTooBigErrors",
        "IPv6 packets elsewhere on the host were discarded",
        "not of a VM here, whose packets are counted with its port; `nstat -az 'Ip6*'` tells which",
        usual=True,
    ),
    _cause(
        "host-neighbours-full",
        "neighbour.ipv4.table_fulls neighbour.ipv6.table_fulls",
        "the neighbour table was full, so that new neighbours couldn't be looked for",
        "raise net.ipv4.neigh.default.gc_thresh3 and net.ipv6.neigh.default.gc_thresh3",
    ),
    _cause(
        "host-neighbour-silent",
        "neighbour.ipv4.res_failed neighbour.ipv6.res_failed",
        "neighbours of the host didn't answer ARP or ND",
        "`ip neighbour show nud failed` names those of now; of a VM: is it running?",
        usual=True,
    ),
    _cause(
        "host-backlog-full",
        "softnet.dropped",
        "packets came faster than the host's processors took them",
        "raise net.core.netdev_max_backlog; spread the load: ethtool -l, RPS",
    ),
)

EVERY: Final = (*FILTERS.values(), *PORT, *VRF, *TUNNEL, *UNDERLAY, *HOST)
"""All of them."""
