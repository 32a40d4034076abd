"""What every vrfwire program shares: configuration, control socket, output, logging, service notification."""
