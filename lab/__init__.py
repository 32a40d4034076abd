"""Hosts in network namespaces on a real kernel, natively or in user-mode Linux: demo, tests, benchmarks."""
