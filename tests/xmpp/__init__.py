"""The XMPP service against other servers and clients: loopback only, outside the lab."""
