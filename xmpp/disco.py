"""Small services every client expects: service discovery (XEP-0030), ping (XEP-0199), an empty roster. Pure handlers."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from xmpp.jid import Jid
from xmpp.stanza import Stanza


def is_ping(stanza: Stanza) -> bool:
    """Whether the stanza is a ping request (XEP-0199); answer it with an empty result, in order with other output."""
    raise NotImplementedError


class Disco:
    """Answers discovery requests for the domain and its nodes.

    domain: address of the service; nodes: VPN names the given host may see; has_node: whether it may see one.
    """

    def __init__(
        self, domain: Jid, nodes: Callable[[Jid], Iterable[str]], has_node: Callable[[Jid, str], bool]
    ) -> None:
        raise NotImplementedError

    def answer(self, stanza: Stanza) -> bytes | None:
        """The reply (result or error) to a discovery, ping or roster request; None when the stanza is none of these."""
        raise NotImplementedError
