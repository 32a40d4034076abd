"""The gateway without TLS, for measuring alone: python -m benchmarks.gateway_plain --config FILE.

The daemon never talks to a host without TLS, so that there is nothing to compare with the plain ports of others. Here
it does: who connects from the address of a host of the load generator is believed to be that host. All else is the
daemon as it is.
"""

from __future__ import annotations

import sys

from benchmarks.xmpp_load_stanzas import host_name, host_number
from gateway import greeting, main
from gateway.connection import Connection
from gateway.identity import Identity
from xmpp.jid import Jid


class PlainConnection(Connection):
    """A connection that is secure in the gateway's eyes, although it isn't."""

    def _read_identity(self) -> bool:
        if not super()._read_identity():
            domain = self.server.stream_config.domain
            self.identity = Identity((Jid.of(host_name(host_number(self.peer[0])), domain),))
        return True


if __name__ == "__main__":
    vars(greeting)["Connection"] = PlainConnection
    sys.exit(main.main())
