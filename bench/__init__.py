"""Benchmarks: each prints ratios of figures measured in one run."""
