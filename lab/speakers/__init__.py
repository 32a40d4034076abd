"""BGP speakers of others as children of a test, a demo or a benchmark: own configuration, own sockets, any address."""
