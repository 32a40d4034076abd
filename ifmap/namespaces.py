"""XML namespaces of IF-MAP. No I/O.

One base namespace serves IF-MAP 2.0, 2.1 and 2.2; there is no version negotiation on the wire.
"""

from __future__ import annotations

SOAP = "http://www.w3.org/2003/05/soap-envelope"
"""SOAP 1.2 envelope."""
BASE = "http://www.trustedcomputinggroup.org/2010/IFMAP/2"
"""Operations and `response`. Everything inside them is in no namespace (unqualified local elements)."""
STANDARD_METADATA = "http://www.trustedcomputinggroup.org/2010/IFMAP-METADATA/2"
"""Metadata for network security, 2.0r25 to 2.2."""
OPERATIONAL_METADATA = "http://www.trustedcomputinggroup.org/2012/IFMAP-OPERATIONAL-METADATA/1"
"""2.1: client-time."""
SERVER = "http://www.trustedcomputinggroup.org/2013/IFMAP-SERVER/1"
"""2.2: the identifier ifmap-server and its metadata server-capability."""
XML = "http://www.w3.org/XML/1998/namespace"
"""Bound to the prefix xml everywhere, never declared."""


def split(name: str) -> tuple[str, str]:
    """("uri", "local") of a name as ifmap.xml gives it ("uri}local", or "local" for no namespace)."""
    uri, _, local = name.rpartition("}")
    return uri, local


def join(namespace: str, local: str) -> str:
    """The contrary of split."""
    return f"{namespace}}}{local}" if namespace else local
