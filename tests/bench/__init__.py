"""Benchmarks: `python -m tests.bench NAME` measures one part, prints the figures and writes them to BENCHMARKS.md."""
