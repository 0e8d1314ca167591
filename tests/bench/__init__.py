"""Figures: `python -m tests.bench NAME`. Not tests: they print what they measured, and BENCHMARKS.md keeps it."""
