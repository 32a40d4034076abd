"""XMPP stream, SASL and publish-subscribe protocol cores (server side) and the VPN entry schema; no I/O."""
