"""One configured MAP server, or a list of which one is used: the client, its subscriptions, what is published there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from gateway.attachment_state import Condition, Presence, Statement
from gateway.map_feed import MapFeed
from ifmap.answers import ReceivedPart
from ifmap.client import ClientStatus, MapClient
from ifmap.client_publisher import Publisher
from ifmap.client_settings import ClientSettings
from ifmap.errors import IfmapError
from ifmap.l3vpn import (
    ATTACHMENT_INFO,
    ATTACHMENT_STATE,
    SchemaError,
    State,
    attachment_info,
    attachment_state,
    customer_attachment,
    provider_attachment,
)
from ifmap.values import SearchSpec, link

log = logging.getLogger("vrfwire.gateway.map")

_STATES = {Condition.UP: State.UP, Condition.DOWN: State.DOWN, Condition.ADMIN_DOWN: State.ADMIN_DOWN}


class MapConnection:
    """The listener of a MapClient. name: what the gateway calls itself; notify: called when feed has news; ending:
    before it forgets a session that is over."""

    def __init__(
        self,
        settings: ClientSettings,
        wanted: Mapping[str, SearchSpec],
        feed: MapFeed,
        name: str,
        notify: Callable[[], None],
        ending: Callable[[MapConnection], None],
    ) -> None:
        self.feed = feed
        self.refused: dict[str, str] = {}
        """Subscriptions that the server doesn't keep for us, with its text."""
        self._name = name
        self._notify = notify
        self._ending = ending
        self._client = MapClient(settings, self)
        for subscription, spec in wanted.items():
            self._client.subscribe(subscription, spec)
        self._publisher = Publisher(self._client.publish)

    async def start(self) -> None:
        """Begin to connect."""
        self._publisher.start()
        await self._client.start()

    async def stop(self) -> None:
        """End the session: the server forgets what was said in it."""
        await self._publisher.stop()
        await self._client.stop()

    def status(self) -> ClientStatus:
        """Of the client."""
        return self._client.status()

    def unpublished(self) -> tuple[int, list[str]]:
        """How much of what is said the server doesn't have yet; what it refuses to take, and why."""
        published = self._publisher.published
        refused = [f"{place.name.local}: {error}" for place, error in published.refused_places.items()]
        return published.waiting, refused

    def say(self, presence: Presence, statement: Statement | None) -> None:
        """Have this said of an attachment at a host; None: nothing."""
        try:
            where = provider_attachment(presence.address, presence.host, self._name)
            edge = link(customer_attachment(presence.attachment), where)
        except SchemaError as error:
            log.warning("nothing is said in the map of attachment %s: %s", presence.attachment, error)
            return
        if statement is None:
            self._publisher.remove(edge, ATTACHMENT_STATE)
            self._publisher.remove(edge, ATTACHMENT_INFO)
        else:
            self._publisher.set(edge, attachment_info(statement.routes))
            self._publisher.set(edge, attachment_state(_STATES[statement.condition]))

    # -- MapListener

    def session_started(self, session_id: str, publisher_id: str) -> None:
        """Everything is to be said again."""
        self.refused.clear()
        self._publisher.session_started()

    def result(self, part: ReceivedPart) -> None:
        """News of a subscription."""
        self.refused.pop(part.name, None)
        self.feed.result(part)
        self._notify()

    def subscription_refused(self, name: str, error: IfmapError) -> None:
        """What is known of it stays."""
        self.refused[name] = f"{error.code}: {error}"

    def session_lost(self, reason: str) -> None:
        """What is known stays."""
        self._ending(self)
        self.feed.session_lost()
        self._publisher.session_lost()
