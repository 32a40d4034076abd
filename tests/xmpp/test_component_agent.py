"""Our own agents behind Prosody and ejabberd, with the gateway as a component: routes, and every loss healed."""

from __future__ import annotations

from lab.pki import Authority
from lab.xmpp_servers import XmppServer
from tests.scenario.agent_harness import DOMAIN, Host, World, play, until
from tests.xmpp.component_gateway import PASSWORD, LocalGateway
from tests.xmpp.relay import Relay


async def agents(world: World, server: XmppServer, authority: Authority, *numbers: int) -> list[Host]:
    """Hosts hv1, hv2, ... that log in to the server by password."""
    password = world.directory / "password"
    password.write_text(PASSWORD)
    password.chmod(0o600)
    found = []
    for number in numbers:
        settings = "[signaling]\nreconnect_min = 0.02\nreconnect_max = 0.3\nstale_time = 5.0\nretry_time = 0.2\n"
        host = await world.host(number, start=False, settings=settings)
        host.text = host.text.replace(f'ca = "{world.authority.certificate}"', f'ca = "{authority.certificate}"')
        host.text += (
            f'[[gateway]]\naddress = "127.0.0.1"\nport = {server.tls}\ndomain = "{DOMAIN}"\n'
            f'service = "{server.component_domain}"\npassword_file = "{password}"\n'
        )
        await host.start()
        found.append(host)
    return found


def test_attached_vms_reach_each_other_and_every_loss_heals(server: XmppServer, authority: Authority) -> None:
    async def scenario(world: World) -> None:
        with Relay(server.address, server.component) as relay:
            gateway = LocalGateway(world.directory, server, relay.port)
            await gateway.start()
            try:
                one, two = await agents(world, server, authority, 1, 2)
                await one.attach("web", "blue", "10.1.1.1")
                await two.attach("db", "blue", "10.1.1.2")
                await one.has_route("blue", "10.1.1.2/32")
                await two.has_route("blue", "10.1.1.1/32")

                # The stream with the server is cut: sessions begin again, nothing is lost from the hosts' kernels.
                before = gateway.numbers()
                relay.cut()
                await until(lambda: not gateway.numbers() & before, "the loss")
                await until(lambda: gateway.sessions() == {"hv1", "hv2"} and not gateway.stale(), "sessions again")
                await one.attach("cache", "blue", "10.1.1.3")
                await two.has_route("blue", "10.1.1.3/32")
                assert two.route("blue", "10.1.1.1/32") is not None

                # The gateway is started anew, and knows nobody.
                await gateway.stop()
                await gateway.start()
                await until(lambda: gateway.sessions() == {"hv1", "hv2"}, "sessions with the new gateway")
                await two.attach("log", "blue", "10.1.1.4")
                await one.has_route("blue", "10.1.1.4/32")
                assert one.route("blue", "10.1.1.2/32") is not None and two.route("blue", "10.1.1.1/32") is not None

                # A host goes, and what it has announced ends with its stale time.
                await one.detach("cache")
                await two.no_route("blue", "10.1.1.3/32")
            finally:
                await gateway.stop()

    play(scenario)


def test_an_agent_waits_for_a_gateway_that_comes_later(server: XmppServer, authority: Authority) -> None:
    async def scenario(world: World) -> None:
        (one,) = await agents(world, server, authority, 1)
        await one.attach("web", "blue", "10.1.1.1", wait="programmed")
        assert one.daemon is not None
        (peer,) = one.daemon.agent.peers.values()
        await until(lambda: "away" in peer.session.last_error or "service" in peer.session.last_error, "the refusal")
        gateway = LocalGateway(world.directory, server)
        try:
            await gateway.start()
            await until(lambda: gateway.sessions() == {"hv1"}, "the session")
            assert gateway.daemon is not None
            table = gateway.daemon.service.rib.tables["blue"]
            await until(lambda: {str(prefix) for prefix in table} == {"10.1.1.1/32"}, "the route")
        finally:
            await gateway.stop()

    play(scenario)
