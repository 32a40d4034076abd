"""The `vrfwire-map serve` daemon."""
