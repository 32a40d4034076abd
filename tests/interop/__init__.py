"""Gateways and BGP speakers of others: real daemons, each topology in a network namespace of its own."""
