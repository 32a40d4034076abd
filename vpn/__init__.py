"""Value types and route tables shared by agent and gateway; no I/O."""
