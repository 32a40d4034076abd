"""The host daemon and the `vrfwire` command: attachments, sessions to gateways, planner, control socket."""
