"""BGP-4 as VPN gateways and route reflectors speak it: messages, codec and session, without I/O."""
