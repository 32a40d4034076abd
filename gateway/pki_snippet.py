"""agent.toml for a host that was enrolled; no I/O."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from gateway.pki_subject import Subject


def agent_snippet(host: Subject, gateways: Sequence[Subject]) -> str:
    """The configuration of a host that connects to these gateways; "" when none of them has an address, or the host no
    IPv4 one, which the underlay is of."""
    underlay = next((one for one in host.addresses if isinstance(one, ipaddress.IPv4Address)), None)
    reached = [(gateway.addresses[0], gateway.domain) for gateway in gateways if gateway.addresses]
    if underlay is None or not reached:
        return ""
    parts = [f'[host]\nname = "{host.name}"\naddress = "{underlay}"\n']
    parts += [f'[[gateway]]\naddress = "{address}"\ndomain = "{domain}"\n' for address, domain in reached]
    parts.append(f'[tls]\nca = "ca.pem"\ncertificate = "{host.name}.pem"\nkey = "{host.name}.key"\ncrl = "crl.pem"\n')
    return "\n".join(parts)


def lacking(host: Subject, gateways: Sequence[Subject]) -> tuple[str, str]:
    """Why agent_snippet() has nothing to say, and what to do about it."""
    again = f"then `pki enroll {host.name}` again in the same way"
    if not any(isinstance(one, ipaddress.IPv4Address) for one in host.addresses):
        why = f"{host.name} has no IPv4 address, which the underlay is of"
        return why, f"`pki revoke {host.name}`, and enroll it with an --address of the underlay"
    if not gateways:
        return (
            "no gateway is enrolled yet",
            f"enroll one first by `pki enroll NAME --role gateway --address A`, {again}",
        )
    name = gateways[0].name
    return "no gateway was enrolled with an address", f"`pki revoke {name}`, enroll it with an --address, {again}"
