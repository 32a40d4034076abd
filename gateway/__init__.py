"""The gateway daemon: XMPP service, VRF tables, policy, control socket."""
