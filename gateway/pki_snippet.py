"""agent.toml for a host that was enrolled; no I/O."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from gateway.pki_subject import Subject


def agent_snippet(host: Subject, gateways: Iterable[Subject]) -> str:
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
