"""Tables of routes: what peers sent, what is best of it, who is told."""
