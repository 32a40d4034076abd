"""Metadata access point (IF-MAP 2): protocol core, client, VPN schema, commands; the server is ifmap.server."""
