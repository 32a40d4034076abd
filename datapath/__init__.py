"""Desired state to kernel: delta tracker, reconciler, drivers, packed netlink, event monitor, fake kernel."""
